# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt doctor`` before it comes to any host; with hosts, see tests/integration."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from latent_libvirt.cli import main
from latent_libvirt.cli.doctor import _of_port
from latent_libvirt.config.listener import Listener
from latent_libvirt.control.socket_path import SUFFIX

GOOD = """\
master: {max_vms: 1}
hosts:
  alpha: {uri: "qemu:///system", slots: 2, storage_pool: default}
labels:
  debian-12: {image: debian-12}
"""


def doctor(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *arguments])


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_bad_file_is_the_first_thing_that_fails() -> None:
    Path("pool.yaml").write_text(GOOD.replace("slots: 2", "slots: x"))
    result = doctor()
    assert result.exit_code == 1
    assert result.stdout.startswith(
        "✗ configuration: pool.yaml cannot be used: 1 problem\n"
        "    pool.yaml:3:41: hosts.alpha.slots: the text 'x' where a whole number belongs"
    )
    assert "\n  → Correct that" in result.stdout


def test_a_program_is_told_so_too() -> None:
    result = doctor("none.yaml", "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert (document["file"], document["ok"]) == ("none.yaml", False)
    assert document["findings"][0]["check"] == "configuration"


def test_a_host_that_is_not_in_the_file_is_wrong_usage() -> None:
    Path("pool.yaml").write_text(GOOD)
    result = doctor("--host", "beta")
    assert result.exit_code == 2
    assert "no host 'beta'; there are: alpha" in result.stderr


def test_a_taken_port_is_a_finding_unless_the_master_runs(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        listener = Listener("master.cfg", 1, f"tcp:{port}")
        (told,) = _of_port(listener, directory)
        assert f"listens at port {port} already" in told.brief
        with socket.socket(socket.AF_UNIX) as control:
            control.bind(f"pool{SUFFIX}")
            control.listen()
            (fine,) = _of_port(listener, directory)
        assert "guests can connect to it, without TLS" in fine.brief
        (told_again,) = _of_port(listener, directory)  # the socket of a killed master is there
        assert told_again == told
