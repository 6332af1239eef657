# SPDX-License-Identifier: GPL-2.0-only
"""What a master.cfg may say of the job API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from buildbot.config.errors import ConfigErrors
from buildbot.config.master import FileLoader
from buildbot.plugins import util
from buildbot.warnings import ConfigWarning
from buildbot.www.authz.endpointmatchers import EndpointMatcherBase
from buildbot.www.authz.roles import RolesFromBase

from latent_libvirt.jobs import readers
from latent_libvirt.jobs.links import JobLinks
from latent_libvirt.jobs.service import JobApi
from latent_libvirt.jobs.settings import Settings


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"tokens": ""}, "tokens"),
        ({"url": "ci.example.org"}, "url"),
        ({"read": "nobody"}, "read"),
        ({"posts_per_minute": 0}, "posts_per_minute"),
        ({"max_body": 0}, "max_body"),
        ({"audit_log": ""}, "audit_log"),
        ({"audit_log": 7}, "audit_log"),
        ({"proxies": "10.0.0.1"}, "proxies"),
        ({"proxies": ["proxy.example"]}, "proxies"),
        ({"listen": "nonsense:1"}, "listen"),
        ({"listen": "tcp:port=no"}, "listen"),
        ({"callback_hosts": "example.org"}, "callback_hosts"),
        ({"callback_secret": 7}, "callback_secret"),
        ({"callback_secret": ""}, "callback_secret"),
        ({"callback_hosts": None}, "callback_hosts"),
        ({"callback_hosts": [7]}, "callback_hosts"),
        ({"proxies": None}, "proxies"),
        ({"proxies": 7}, "proxies"),
        ({"tokens": 7}, "tokens"),
        ({"tokens": b"tokens.json"}, "tokens"),
        ({"tokens": "a\0b"}, "tokens"),
        ({"url": 7}, "url"),
        ({"url": "http://["}, "url"),
        ({"labels": None}, "labels"),
        ({"labels": ["debian"]}, "labels"),
        ({"labels": {"debian": 7}}, "labels"),
        ({"labels": {7: "check"}}, "labels"),
        ({"read": []}, "read"),
        ({"posts_per_minute": "600"}, "posts_per_minute"),
        ({"posts_per_minute": float("nan")}, "posts_per_minute"),
        ({"posts_per_minute": True}, "posts_per_minute"),
        ({"max_body": "1"}, "max_body"),
        ({"max_body": None}, "max_body"),
        ({"max_body": 1.5}, "max_body"),
        ({"listen": 7}, "listen"),
        ({"listen": "tcp:99999"}, "listen has no port"),
        ({"url": "http://ci.example/?a=b"}, "without a query"),
        ({"name": "x"}, "takes no name"),
        ({"url": "https://ci.example.org/?"}, "url must be .* without a query"),
        ({"url": "https://ci.example.org:99999/"}, "url must be"),
        ({"url": "https://ci.example.org/#a"}, "url must be .* without a query"),
        ({"callback_secret": "whsec_!!!"}, "callback_secret must have base64 after 'whsec_'"),
        ({"callback_secret": "whsec_"}, "callback_secret must have base64"),
        ({"listen": "tcp:-1"}, "listen has no port"),
        ({"max_bodies": 7}, "keyword argument 'max_bodies', did you mean 'max_body'"),
    ],
)
def test_buildbot_checkconfig_tells_what_cannot_work(arguments: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigErrors, match=fault):
        JobApi(**{"tokens": "tokens.json"} | arguments)


@pytest.mark.parametrize(("args", "why"), [((), "missing"), (("tokens.json",), "positional")])
def test_a_wrong_call_of_the_job_api_is_one_sentence_with_an_example(
    args: tuple[str, ...], why: str
) -> None:
    with pytest.raises(ConfigErrors) as caught:
        JobApi(*args)
    (error,) = caught.value.errors
    assert why in error
    assert error.endswith('; write, for example, util.JobApi(tokens="tokens.json")')


def test_what_may_be_said_may_be_said() -> None:
    JobApi(tokens=Path("tokens.json"), posts_per_minute=None, audit_log=Path("audit.log"))
    JobApi(tokens="tokens.json", labels={"deb*": "check"}, proxies=("::1",), callback_hosts={"ci"})
    JobApi(tokens="tokens.json", name="job-api", callback_secret="whsec_c2VjcmV0", listen="tcp:0")
    JobApi(tokens="tokens.json", url="http://[::1]:8010/ci")


class Everybody(RolesFromBase):  # type: ignore[misc]
    """Gives a role to all who come."""

    def getRolesFromUser(self, _user: dict[str, Any]) -> list[str]:  # noqa: N802 - Buildbot's
        return ["reader"]


MASTER_CFG = """
from buildbot.plugins import util, worker
c = BuildmasterConfig = dict(
    services=[util.JobApi(tokens="token.json")],
    workers=[worker.LocalWorker("w")],
    builders=[util.BuilderConfig(name="b", workernames=["w"], factory=util.BuildFactory())],
    protocols=dict(pb=dict(port="tcp:9989")),
    multiMaster=True,
    buildbotNetUsageData=None,
)
"""


class ReadersOfOneProject(EndpointMatcherBase):  # type: ignore[misc]
    """A rule of somebody's own."""


ANYTHING = util.AnyEndpointMatcher


@pytest.mark.parametrize(
    ("rules", "open_"),
    [
        ([], True),
        ([util.StopBuildEndpointMatcher(role="ci"), ANYTHING(role="ci")], False),
        ([ANYTHING(role="ci", defaultDeny=False)], True),
        ([ANYTHING(role="ci", defaultDeny=False), ANYTHING(role="admins")], False),
        ([ANYTHING(role="reader"), ANYTHING(role="admins")], True),
        ([ReadersOfOneProject(role="ci")], False),
    ],
    ids=["none", "any after an action", "it denies nothing", "a later one", "everybody", "foreign"],
)
def test_what_strangers_may_read_is_as_the_first_rule_says_that_decides(
    rules: list[Any], *, open_: bool
) -> None:
    authz = util.Authz(allowRules=rules, roleMatchers=[Everybody()])

    assert readers.is_open({"port": 1, "authz": authz}) is open_


def test_an_authz_that_fails_with_strangers_lets_none_read() -> None:
    assert not readers.is_open({"port": 1, "authz": object()})


def test_a_token_file_that_is_missing_is_warned_of_until_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "master.cfg").write_text(MASTER_CFG)
    monkeypatch.chdir(tmp_path.parent)  # as `buildbot checkconfig DIRECTORY` may be elsewhere

    with pytest.warns(ConfigWarning, match="no token file 'token.json'.*token create"):
        FileLoader(str(tmp_path), "master.cfg").loadConfig()

    (tmp_path / "token.json").write_text("{}")
    FileLoader(str(tmp_path), "master.cfg").loadConfig()


def test_all_that_is_documented_is_good() -> None:
    JobApi(
        tokens="tokens.json",
        url="https://ci.example.org/",
        labels={"debian-*": "check"},
        read="token",
        audit_log="audit.log",
        proxies=["127.0.0.1", "::1"],
        posts_per_minute=None,
        max_body=1000,
        listen="tcp:8081:interface=127.0.0.1",
        callback_hosts=["*.example.org"],
        callback_secret=util.Secret("webhooks"),
    )


def test_a_label_leads_to_the_first_builder_whose_pattern_it_matches() -> None:
    settings = Settings(tokens="t", labels={"debian-12": "old", "debian-*": "new"})
    assert settings.builder_of("debian-12") == "old"
    assert settings.builder_of("debian-13") == "new"
    assert settings.builder_of("fedora") is None


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://hooks.example.org/x", True),
        ("http://HOOKS.example.org:8080/x", True),
        ("https://example.org.evil.net/", False),
        ("https://evil.net/?hooks.example.org", False),
        ("https://hooks.example.org@evil.net/", False),
        ("http://127.0.0.1/", False),
    ],
)
def test_results_are_told_to_hosts_that_are_known_to_want_them(url: str, *, allowed: bool) -> None:
    assert Settings(tokens="t", callback_hosts=["*.example.org"]).may_call(url) is allowed


def test_a_secret_is_not_in_what_is_printed() -> None:
    assert "hush" not in repr(Settings(tokens="t", callback_secret="hush"))


@pytest.mark.parametrize(
    ("args", "arguments", "fault"),
    [
        ((), {"url": 5}, "url must be an http"),
        ((), {"url": "http://ci.example/#x"}, "without a query"),
        ((), {"url": "http://ci.example:99999/"}, "url must be an http"),
        (("http://ci.example",), {}, r"positional .* write, for example, util\.JobLinks\(url="),
        ((), {"foo": 5}, r"'foo'.* write, for example, util\.JobLinks\(url="),
    ],
)
def test_links_of_jobs_say_what_they_take(
    args: tuple[object, ...], arguments: dict[str, Any], fault: str
) -> None:
    with pytest.raises(ConfigErrors, match=fault):
        JobLinks(*args, **arguments)
    JobLinks(url="http://ci.example/ci")
    JobLinks()
