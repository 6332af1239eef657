# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt check``, and the same from a ``master.cfg``."""

from __future__ import annotations

from pathlib import Path

import pytest
from buildbot.config.errors import ConfigErrors
from buildbot.config.master import FileLoader
from click.testing import CliRunner, Result

from latent_libvirt.cli import doctor, main
from latent_libvirt.master.pool_yaml import load_for_buildbot

GOOD = """\
master: {max_vms: 1}
hosts:
  alpha: {uri: "qemu:///system", slots: 2, storage_pool: default}
labels:
  debian-12: {image: debian-12}
"""
BAD = GOOD.replace("slots: 2", "slots: x").replace("image: debian-12", "image: debain-12")

MASTER_CFG = """\
from latent_libvirt.master.pool_yaml import load_for_buildbot
load_for_buildbot("pool.yaml")
BuildmasterConfig = {}
"""


def check(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["check", *arguments])


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "master.cfg").write_text(MASTER_CFG)
    return tmp_path


def test_a_good_file_gets_one_friendly_line(directory: Path) -> None:
    Path("pool.yaml").write_text(GOOD)
    result = check("pool.yaml")
    assert result.exit_code == 0
    assert result.stdout == (
        "pool.yaml is good: 1 label on 1 host with 2 slots, at most 1 VM at once.\n"
    )


def test_what_guests_without_a_card_may_reach_is_written_out(directory: Path) -> None:
    network = "network: {allow: [mine, a.example:80]}"
    label = f"debian-12: {{image: debian-12, {network}}}"
    groups = "network_groups:\n  mine: [b.example:443, c.example:443]\n"
    Path("pool.yaml").write_text(GOOD.replace("debian-12: {image: debian-12}", label) + groups)

    assert check("pool.yaml").stdout.splitlines()[1:] == [
        "Guests of label debian-12 may reach b.example:443, c.example:443, a.example:80."
    ]


def test_labels_of_another_architecture_are_named_with_what_hosts_need(directory: Path) -> None:
    Path("pool.yaml").write_text(f"{GOOD}  arm: {{image: debian-12-aarch64, arch: aarch64}}\n")

    (line,) = check("pool.yaml").stdout.splitlines()[1:]

    assert line.startswith("VMs of arm are aarch64 machines.")
    assert "(Debian: qemu-system-arm and qemu-efi-aarch64)" in line


def test_the_file_is_pool_yaml_if_none_is_named(directory: Path) -> None:
    Path("pool.yaml").write_text(GOOD)
    assert check().exit_code == 0


LINES = [
    (
        "pool.yaml:3:41: hosts.alpha.slots: the text 'x' where a whole number belongs; "
        "write one, like 8"
    ),
    (
        "pool.yaml:5:22: labels.debian-12.image: there is no image 'debain-12'; "
        "did you mean 'debian-12'?"
    ),
]


def test_a_bad_file_gets_one_line_for_each_problem(directory: Path) -> None:
    Path("pool.yaml").write_text(BAD)
    result = check("pool.yaml")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines() == LINES


def test_a_missing_file_is_a_problem_like_others(directory: Path) -> None:
    result = check("none.yaml")
    assert result.exit_code == 1
    assert result.stderr == (
        "none.yaml: cannot be read: No such file or directory; "
        "check the path, or write one with latent-libvirt init\n"
    )


def test_buildbot_tells_the_same_lines_without_a_traceback(directory: Path) -> None:
    Path("pool.yaml").write_text(BAD)
    with pytest.raises(ConfigErrors) as refused:
        FileLoader(str(directory), "master.cfg").loadConfig()
    assert refused.value.errors == LINES


def test_buildbot_finds_the_file_from_any_working_directory(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("pool.yaml").write_text(BAD)
    elsewhere = directory / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with pytest.raises(ConfigErrors) as refused:
        FileLoader(str(directory), "master.cfg").loadConfig()
    assert refused.value.errors == [f"{directory}/{line}" for line in LINES]


def test_buildbot_finds_the_file_beside_a_master_cfg_that_is_named_by_its_path(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("pool.yaml").write_text(BAD)
    elsewhere = directory / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with pytest.raises(ConfigErrors) as refused:
        FileLoader(str(elsewhere), "../master.cfg").loadConfig()
    assert refused.value.errors == [f"{directory}/{line}" for line in LINES]


def test_hosts_that_guests_take_for_themselves_are_refused(directory: Path) -> None:
    allow = "mine, {name: localhost, port: 8000, private: true}, a.example:80"
    label = f"debian-12: {{image: debian-12, network: {{allow: [{allow}]}}}}"
    groups = "network_groups:\n  mine: [b.example:443, b.localhost:3]\n"
    Path("pool.yaml").write_text(GOOD.replace("debian-12: {image: debian-12}", label) + groups)

    result = check("pool.yaml")

    assert result.exit_code == 1
    assert "no_proxy=localhost,127.0.0.1,::1" in result.stderr
    for place in ("b.localhost:3", "localhost:8000"):
        assert f"label debian-12: {place}\n" in result.stderr
    assert "example:" not in result.stderr
    assert "{name: NAME, port: PORT, private: true}" in result.stderr
    assert "is good" not in result.stdout


def test_buildbot_tells_a_file_that_is_nowhere_by_the_name_it_was_given(directory: Path) -> None:
    with pytest.raises(ConfigErrors) as refused:
        FileLoader(str(directory), "master.cfg").loadConfig()
    assert refused.value.errors == [
        (
            "pool.yaml: cannot be read: No such file or directory; "
            "check the path, or write one with latent-libvirt init"
        )
    ]


def test_a_good_file_is_given_to_buildbot(directory: Path) -> None:
    Path("pool.yaml").write_text(GOOD)
    assert load_for_buildbot("pool.yaml").master.max_vms == 1


def test_labels_that_make_far_more_workers_than_can_run_are_warned_of(directory: Path) -> None:
    hosts = "".join(
        f'  h{n}: {{uri: "qemu+ssh://h{n}/system", slots: 40, storage_pool: p}}\n' for n in range(9)
    )
    labels = "".join(f"  label-{n}: {{image: debian-12}}\n" for n in range(100))
    wide = f"master: {{max_vms: 360}}\nhosts:\n{hosts}labels:\n{labels}"
    Path("pool.yaml").write_text(wide)
    Path("narrow.yaml").write_text(wide.replace("12}", "12, max_vms: 4}"))

    (_summary, warning) = check("pool.yaml").stdout.splitlines()

    assert "36000 workers, and 360 of them can run at once" in warning
    assert "set their `max_vms`" in warning
    assert len(check("narrow.yaml").stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("port", "said"),
    [
        ("tls:tcp\\\\:9989", "workers in VMs cannot connect to"),
        ("unix:workers", "workers in VMs cannot connect to"),
        ("ssl:9989:privateKey=key.pem:certKey=cert.pem", "cert.pem of the port for workers"),
    ],
)
@pytest.mark.parametrize("command", ["check", "doctor"])
def test_a_port_that_guests_cannot_use_is_refused_where_a_label_needs_it(
    directory: Path, monkeypatch: pytest.MonkeyPatch, command: str, port: str, said: str
) -> None:
    # The doctor would go on to the hosts, which would end the reactor of the tests.
    monkeypatch.setattr(doctor, "react", lambda _examine: None)
    Path("master.cfg").write_text(f'c["protocols"] = {{"pb": {{"port": "{port}"}}}}\n')

    def output(connection: str) -> str:
        label = f"debian-12, connection: {connection}}}"
        Path("pool.yaml").write_text(GOOD.replace("debian-12}", label))
        result = CliRunner().invoke(main, [command, "pool.yaml"])
        assert result.exit_code == (command == "check" and connection == "tcp")
        return " ".join(result.output.split())

    assert said in output("tcp")
    assert said not in output("channel")
