# SPDX-License-Identifier: GPL-2.0-only
"""The pages behind a proxy that has TLS and a path prefix, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import Browser
from buildmaster import wait_for
from page_users import POOL, User, audit, building
from simulated_master import SimulatedMaster
from tls_proxy import TlsProxy

WWW = """
c["buildbotURL"] = {url!r}
c["www"]["auth"] = util.UserPasswordAuth({{"admin": "pw"}})
c["www"]["authz"] = util.Authz(
    allowRules=[util.AnyControlEndpointMatcher(role="admins", defaultDeny=False)],
    roleMatchers=[util.RolesFromUsername(roles=["admins"], usernames=["admin"])],
)
c["services"].append(util.JobApi(tokens="tokens.json"))
c["www"]["plugins"]["jobs"] = {{}}
"""


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[TlsProxy]:
    proxy = TlsProxy(tmp_path, prefix="/buildbot", keeps_host=False)
    with proxy.running():
        yield proxy


@pytest.fixture
def proxied(tmp_path: Path, proxy: TlsProxy) -> Iterator[SimulatedMaster]:
    with SimulatedMaster(tmp_path / "master", more=WWW.format(url=proxy.url)) as master:
        proxy.backend = master.web_port
        yield master


def test_pages_buttons_jobs_and_terminals_work_and_other_sites_are_refused(
    proxied: SimulatedMaster, proxy: TlsProxy
) -> None:
    proxied.force("check")
    vm = wait_for("a VM", lambda: building(proxied))

    with Browser("about:blank", trusts_all=True) as browser:
        browser.open(f"{proxy.url}auth/login".replace("//", "//admin:pw@", 1))
        browser.open("about:blank")
        browser.open(f"{proxy.url}#/vms")
        browser.wait_for_text("Pool latent_libvirt of")
        browser.click("Drain host alpha")
        browser.wait_for_text("Start no new VM on host alpha?")
        browser.click("Drain host alpha")
        browser.wait_for_text("host alpha is drained: no new VM starts.")
        row = "[...document.querySelectorAll('tr')].find((row) => /^alpha/.test(row.innerText))"
        wait_for("news", lambda: "drained" in browser.evaluate(f"{row}?.innerText ?? ''"))

        link = f"document.querySelector('a[aria-label=\"Terminal of {vm['worker']}\"]')"
        browser.act(link, "click()")
        wait_for("a terminal", lambda: audit(proxied)[-1]["command"] == "terminal")
        said = "document.querySelector('.ll-page [role=status]')?.textContent ?? ''"
        # A simulated VM has no console, which its master says a moment later.
        ways = ("Connected.", f"VM {vm['domain']} has no console")
        wait_for("the terminal", lambda: browser.evaluate(said).startswith(ways))
        browser.go_to("#/jobs")
        title = "document.querySelector('h1')?.textContent"
        wait_for("the page of jobs", lambda: browser.evaluate(title) == "Jobs")
        assert browser.errors == []
        assert {status for url, status in browser.answers.items() if "plugins/" in url} == {200}
    assert proxy.refused == []

    done = {(line["command"], line["outcome"]) for line in audit(proxied)}
    assert done == {("drain", "done"), ("terminal", "done")}
    path = f"terminal?pool={POOL.replace('/', '%2F')}&vm={vm['vm_id']}"
    user = User(proxied, "admin")
    assert user.get(path, Origin="https://evil.example") == 403
    own: dict[str, Any] = {"Origin": proxy.url.removesuffix("/buildbot/"), "Host": "localhost"}
    drain = {"command": "undrain", "name": "alpha", "kind": "host"}
    assert user.ask(drain, **own)[0] == 200
    assert user.ask(drain, Origin="https://127.0.0.1")[0] == 403, "the port is another one"
