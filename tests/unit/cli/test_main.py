# SPDX-License-Identifier: GPL-2.0-only
"""The command as such: its commands, its errors, its exit statuses."""

from __future__ import annotations

import subprocess
import sys

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


def test_an_error_that_nobody_foresaw_is_not_hidden(
    run: CliRunner, failing: list[Exception]
) -> None:
    failing.append(KeyError("x"))
    assert isinstance(run.invoke(cli.main, ["check"]).exception, KeyError)


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


def test_the_doctor_needs_no_buildbot() -> None:
    script = "import sys, latent_libvirt.cli.doctor; print('buildbot' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout == "False\n"


def test_checking_a_file_imports_neither_libvirt_nor_buildbot() -> None:
    script = (
        "import sys; from latent_libvirt.cli import main; "
        "main(['check', 'no-such-file'], standalone_mode=False)"
    )
    checked = (
        f"try:\n exec({script!r})\nexcept Exception as e: pass\n"
        "import sys; print(sorted({'libvirt', 'buildbot', 'twisted'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", checked], check=True, capture_output=True, text=True
    )
    assert done.stdout == "[]\n"
