# SPDX-License-Identifier: GPL-2.0-only
"""``network: {allow: [...]}``: what may stand in it, and what is wrong with other things."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from latent_libvirt.config import PoolConfig
from latent_libvirt.config.destinations import DestinationConfig, ready_made_group
from latent_libvirt.config.groups import ready_made
from latent_libvirt.host.domains.vm_spec import vm_spec

Load = Callable[[str | bytes], PoolConfig]
Problems = Callable[[str | bytes], list[str]]

LABEL = "memory: 1GiB"


def with_network(good: str, network: str, *, rest: str = "vcpus: 1") -> str:
    return good.replace(LABEL, f"{rest}\n    network: {network}")


def destinations(config: PoolConfig) -> list[object]:
    label = config.labels["debian-12"]
    return [destination.model_dump() for destination in config.destinations_of(label)]


@pytest.mark.parametrize(
    ("allow", "expected"),
    [
        ("[files.example.org:443]", ["files.example.org:443"]),
        ("[Files.Example.ORG.:443]", ["files.example.org:443"]),
        ("[{name: a.example, port: 80}]", ["a.example:80"]),
        (
            "[{name: mirror, port: 3142, private: true}]",
            [{"name": "mirror", "port": 3142, "private": True}],
        ),
        ("[a.example:80, a.example:80]", ["a.example:80"]),
        ("[builds, {group: builds}]", ["one.example:80", "two.example:443"]),
    ],
)
def test_names_with_ports_and_groups_are_taken(
    load_text: Load, good: str, allow: str, expected: list[object]
) -> None:
    groups = "network_groups:\n  builds: [one.example:80, two.example:443]\n"

    config = load_text(with_network(good, f"{{allow: {allow}}}") + groups)

    assert destinations(config) == expected
    assert config.labels["debian-12"].network.kind == "none"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the root of a machine whose tools use mirrors."""
    files = {
        "etc/apt/sources.list": "# http://old.example/\ndeb [arch=amd64] http://apt.example/ a b\n",
        "etc/apt/sources.list.d/x.sources": "Types: deb\nURIs: https://deb.example:8443/debian\n",
        "etc/pip.conf": "[global]\nindex-url = https://me:secret@pip.example/simple\n",
        "etc/npmrc": "registry=https://npm.example/\nother=http://192.0.2.1/\nbad=http://[/\n",
    }
    for name, text in files.items():
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr("latent_libvirt.config.groups.ROOT", tmp_path / "root")
    return tmp_path / "root"


@pytest.mark.parametrize("group", ["debian", "npm", "pypi"])
def test_ready_made_groups_can_be_used_and_replaced(load_text: Load, good: str, group: str) -> None:
    text = with_network(good, f"{{allow: [{group}]}}")

    assert destinations(load_text(text)) == [d.model_dump() for d in ready_made_group(group)]
    replaced = load_text(f"{text}network_groups: {{{group}: ['mirror.example:8080']}}\n")
    assert destinations(replaced) == ["mirror.example:8080"]


def test_ready_made_groups_have_what_the_tools_of_the_machine_use() -> None:
    assert ready_made() == {
        "debian": ("apt.example:80", "deb.example:8443"),
        "npm": ("npm.example:443",),
        "pypi": ("pip.example:443",),
    }


def test_a_tool_that_names_no_mirror_has_no_group(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latent_libvirt.config.groups.ROOT", machine / "etc")
    assert ready_made() == {}


@pytest.fixture
def bare_machine(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tools of the machine name no mirror."""
    monkeypatch.setattr("latent_libvirt.config.groups.ROOT", machine / "etc")


@pytest.mark.parametrize(
    ("group", "files"),
    [
        ("debian", "/etc/apt/sources.list or "),
        ("npm", "/etc/npmrc or /usr/etc/npmrc"),
        ("pypi", "/etc/pip.conf or /etc/xdg/pip/pip.conf"),
    ],
)
@pytest.mark.usefixtures("bare_machine")
def test_a_ready_made_group_without_hosts_is_named_with_the_files_that_it_is_from(
    problems_of: Problems, good: str, group: str, files: str
) -> None:
    (found,) = problems_of(with_network(good, f"{{allow: [{group}]}}"))

    assert f"the ready-made group {group!r} has no host on this machine; name its hosts in" in found
    assert f"`network_groups`, or by URL in {files}" in found


KINDS = "write `user`, `none`, `{network: NAME}`, `{bridge: NAME}` or `{allow: [...]}`"

WRONG = {
    "": f"nothing where a network belongs; {KINDS}",
    "false": f"the value false where a network belongs; {KINDS}",
    "[{allow: debian}]": f"a list where a network belongs; {KINDS}",
    "7": f"the number 7 where a network belongs; {KINDS}",
    "{allow: [443]}": "the number 443 where a name with a port belongs; write both, for example",
    "{allow: [[a.example, 80]]}": "a list where a name with a port belongs; write both",
    "{allow: [{a.example: 80}]}": (
        "a name and its port are a mapping; write a.example:80, without a space"
    ),
    "{allow: {a.example: 80, b.example: 443}}": (
        "a mapping where a list belongs; write one, like [a.example:80, b.example:443]"
    ),
    "{allow: a.example:80}": "'a.example:80' is not a list; write it in brackets: [a.example:80]",
    "{allow: a.example}": "'a.example' is not a list; write one, like [debian, files.example.org:",
    "{allow: 443}": "the number 443 where a list belongs; write one, like [debian, files.exam",
    "{allow: [mirror]}": (
        "there is no group 'mirror'; groups: 'debian', 'npm', 'pypi'; add it to `network_groups`, "
        "or write a host with its port, as in mirror:443"
    ),
    "{allow: []}": "the list is empty; name what guests may reach, or write `network: none`",
    "{allow: debian}": "'debian' is not a list; write it in brackets: [debian]",
    "{allow: [debiann]}": "there is no group 'debiann'; did you mean 'debian'? If not, add",
    "{allow: [example.org]}": "'example.org' does not end with a port; add it, for example",
    "{allow: ['example.org:0']}": "'example.org:0' does not end with a port",
    "{allow: ['example.org:70000']}": "'example.org:70000' does not end with a port",
    "{allow: ['https://example.org']}": "'https://example.org' is not a name with a port",
    "{allow: ['192.0.2.1:80']}": "'192.0.2.1' is an IP address; write the name of the host",
    "{allow: ['[::1]:80']}": "'[::1]' is an IP address; write the name of the host",
    "{allow: ['0x7f000001:80']}": "'0x7f000001' is an IP address",
    "{allow: ['10.1']}": "'10.1' is an IP address",
    "{allow: ['*.example.org:443']}": "'*.example.org' has a wildcard; name each host",
    "{allow: ['žluť.example:443']}": "'žluť.example' is not a host name in ASCII",
    "{allow: ['a b:443']}": "'a b' is not a host name",
    "{allow: [{name: a.example}]}": "a name or its port is missing; write both",
    "{allow: [{group: debian, port: 80}]}": "a group stands beside other keys",
    "{allow: [{name: a.example, prot: 80}]}": "unknown key; did you mean 'port'?",
    "{allow: [debian], bridge: br0}": "`allow` is for guests without a network",
}


@pytest.mark.parametrize("network", WRONG)
def test_what_is_wrong_is_named_with_its_line(
    problems_of: Problems, good: str, network: str
) -> None:
    found = problems_of(with_network(good, network))

    assert WRONG[network] in " ".join(found)
    assert all(problem.startswith("20:") for problem in found), found


def test_guests_need_a_channel_for_it(problems_of: Problems, good: str) -> None:
    (found,) = problems_of(with_network(good, "{allow: [debian]}", rest="connection: tcp"))

    assert found == (
        "20:22: labels.debian-12.network.allow: guests with `allow` have no card by which a worker "
        "could connect by TCP; remove `connection: tcp`"
    )


def test_a_filter_has_nothing_to_filter(problems_of: Problems, good: str) -> None:
    (found,) = problems_of(with_network(good, "{allow: [debian]}", rest="filter: mine"))
    assert "cannot filter guests without a network" in found


def test_a_group_cannot_have_groups(problems_of: Problems, good: str) -> None:
    (found,) = problems_of(f"{good}network_groups: {{mine: [debian]}}\n")
    assert "the group 'debian' stands in a group; write names with ports" in found


@pytest.mark.parametrize(
    ("group", "said"),
    [
        (
            "example.org:80",
            "'example.org:80' is not a list; write it in brackets: [example.org:80]",
        ),
        ("debian", "'debian' is not a list; write one, like [files.example.org:443]"),
        ("{a.example: 80}", "a mapping where a list belongs; write one, like [a.example:80]"),
        ("{name: a.example}", "a mapping where a list belongs; write one, like [files.example.org"),
        ("[]", "the list is empty; name a host with its port, for example files.example.org:443"),
        ("443", "the number 443 where a list belongs; write one, like [files.example.org:443]"),
        ("[443]", "the number 443 where a name with a port belongs; write both, for example"),
    ],
)
def test_what_is_no_group_is_answered_with_one(
    problems_of: Problems, good: str, group: str, said: str
) -> None:
    (found,) = problems_of(f"{good}network_groups:\n  mine: {group}\n")
    assert said in found


@pytest.mark.parametrize(
    ("name", "in_guest"),
    [
        ("localhost", True),
        ("Localhost.", True),
        ("a.localhost", True),
        ("notlocalhost", False),
        ("localhost.example", False),
    ],
)
def test_names_of_no_proxy_are_taken_for_the_guest(name: str, *, in_guest: bool) -> None:
    assert DestinationConfig(name=name, port=80).is_in_guest is in_guest


def test_a_change_of_what_guests_may_reach_makes_no_other_vm(load_text: Load, good: str) -> None:
    texts = ("{allow: [debian]}", "{allow: [a.example:80]}", "none")
    one, other, none = (
        vm_spec(load_text(with_network(good, text)), "debian-12").hash for text in texts
    )
    assert one == other != none
