# SPDX-License-Identifier: GPL-2.0-only
"""The command as such: its commands, its errors, its exit statuses."""

from __future__ import annotations

import os
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from latent_libvirt import cli
from latent_libvirt.errors import HostError, LatentLibvirtError


@pytest.fixture
def run() -> CliRunner:
    return CliRunner()


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """Make a command of ``check`` that raises what is put into the list."""
    errors: list[Exception] = []

    @click.command
    def check() -> None:
        raise errors[0]

    monkeypatch.setattr("latent_libvirt.cli.check.check", check)
    return errors


def test_an_error_is_told_as_what_why_and_what_to_do(
    run: CliRunner, failing: list[Exception]
) -> None:
    failing.append(HostError("host alpha failed", details="no route\nto host", resolution="Wait."))
    result = run.invoke(cli.main, ["check"])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == "Error: host alpha failed\n  no route\n  to host\nWait.\n"


def test_an_error_with_nothing_but_its_brief_is_one_line(
    run: CliRunner, failing: list[Exception]
) -> None:
    failing.append(LatentLibvirtError("it is late"))
    assert run.invoke(cli.main, ["check"]).stderr == "Error: it is late\n"


def test_an_error_that_nobody_foresaw_says_what_to_report(
    run: CliRunner, failing: list[Exception]
) -> None:
    failing.append(KeyError("x"))
    result = run.invoke(cli.main, ["check"])

    assert result.exit_code == 1
    assert "Error: something that was not foreseen: KeyError: 'x'\n  In test_main.py, line" in (
        result.stderr
    )
    assert "Please report it" in result.stderr
    assert "Traceback" not in result.output


def test_its_traceback_is_shown_to_who_asks_for_it(
    run: CliRunner, failing: list[Exception]
) -> None:
    failing.append(KeyError("x"))
    result = run.invoke(cli.main, ["check"], env={cli.SHOW_TRACEBACK: "1"})

    assert isinstance(result.exception, KeyError)


def test_an_error_of_the_system_names_the_file(run: CliRunner, failing: list[Exception]) -> None:
    failing.append(PermissionError(13, "Permission denied", b"/some/\xff"))

    assert run.invoke(cli.main, ["check"]).stderr == "Error: /some/\\xff: Permission denied\n"


@pytest.mark.parametrize("arguments", [["chekc"], ["check", "--verbosely"], ["check", "a", "b"]])
def test_wrong_usage_has_a_status_of_its_own(run: CliRunner, arguments: list[str]) -> None:
    result = run.invoke(cli.main, arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr


def test_every_command_is_there_and_has_help(run: CliRunner) -> None:
    listed = run.invoke(cli.main, ["--help"])
    for name in cli.COMMANDS:
        assert f"\n  {name} " in listed.stdout
        assert run.invoke(cli.main, [name, "--help"]).exit_code == 0


def test_the_version_is_told(run: CliRunner) -> None:
    assert run.invoke(cli.main, ["--version"]).stdout.startswith("latent-libvirt, version ")


ODD_CALLS = {
    "a disk image": ["image", "publish", "{tmp}/my.qcow2"],
    "a pattern": ["image", "publish", "*"],
    "a directory": ["image", "publish", "{tmp}"],
    "a FIFO": ["image", "publish", "{tmp}/fifo"],
    "a parent": ["image", "publish", ".."],
    "nothing": ["image", "publish", ""],
    "a long name": ["image", "publish", "x" * 5000],
    "a pool that is a FIFO": ["check", "{tmp}/fifo"],
    "a pool that is a directory": ["check", "{tmp}"],
    "a device": ["check", "/dev/null"],
    "a doctor of a FIFO": ["doctor", "{tmp}/fifo"],
    "an image that is verified": ["image", "verify", "/abs/my.qcow2"],
    "an image that is built": ["image", "build", "/abs/my.qcow2"],
    "a schema": ["init", "{tmp}/no/such/pool.yaml"],
    "no master": ["status", "--socket", "{tmp}"],
    "a FIFO for a master": ["status", "--socket", "{tmp}/fifo"],
    "a device for a master": ["sweep", "--socket", "/dev/null"],
    "a file for a master": ["drain", "x", "--socket", "{tmp}/file"],
    "a console of nothing": ["console", "x", "--socket", "{tmp}"],
    "a token in a FIFO": ["token", "list", "{tmp}/fifo"],
}


@pytest.mark.parametrize("what", ODD_CALLS)
def test_whatever_is_named_there_is_a_sentence_and_no_traceback(tmp_path: Path, what: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "my.qcow2").write_bytes(b"QFI\xfb")
    (tmp_path / "file").write_bytes(b"\xff\0")
    words = [word.replace("{tmp}", str(tmp_path)) for word in ODD_CALLS[what]]
    if words[:2] == ["image", "publish"]:
        words += ["--uri", "test:///default", "--pool", "default-pool"]

    result = CliRunner().invoke(cli.main, words)

    assert result.exit_code in {1, 2}
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert result.output.strip()
    assert "not foreseen" not in result.output


def test_without_a_home_directory_the_option_that_is_needed_is_named(
    run: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    result = run.invoke(cli.main, ["image", "list"], env={"XDG_CACHE_HOME": ""})

    assert result.exit_code == 2
    assert "--output" in result.stderr


def test_a_slip_in_the_name_of_a_command_is_answered_with_the_nearest() -> None:
    for slip, meant in (("inti", "init"), ("docter", "doctor")):
        result = CliRunner().invoke(cli.main, [slip])
        assert result.exit_code == 2
        assert f"No such command '{slip}'. Did you mean '{meant}'?" in result.stderr
    assert "Did you mean" not in CliRunner().invoke(cli.main, ["nonsense"]).stderr
    assert "No such option" in CliRunner().invoke(cli.main, ["--inti"]).stderr
