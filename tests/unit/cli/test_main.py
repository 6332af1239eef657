# SPDX-License-Identifier: GPL-2.0-only
"""The command as such: its commands, its errors, its exit statuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
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
    "a token in a FIFO": ["token", "list", "--file", "{tmp}/fifo"],
    "an export in a FIFO": ["thaw", "{tmp}/fifo", "--uri", "test:///default"],
    "an export in a device": ["thaw", "/dev/null", "--uri", "test:///default"],
    "an export that is compressed": ["thaw", "{tmp}/gz", "--uri", "test:///default"],
    "a storage pool that is no text": [
        *("image", "list", "--uri", "test:///default", "--pool", "\udcff"),
    ],
    "an owner in a storage pool that is no text": [
        *("sweep", "--list", "--uri", "test:///default", "--pool", "\udcff"),
    ],
    "a host that is no text": ["sweep", "--list", "--uri", "test:///\udcff", "--pool", "p"],
    "an export that is none": ["thaw", "{tmp}/file", "--uri", "test:///default"],
}


@pytest.mark.parametrize("what", ODD_CALLS)
def test_whatever_is_named_there_is_a_sentence_and_no_traceback(tmp_path: Path, what: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "my.qcow2").write_bytes(b"QFI\xfb")
    (tmp_path / "file").write_bytes(b"\xff\0")
    (tmp_path / "gz").write_bytes(b"\x1f\x8b\x08\0\0\0\0\0")
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


HOSTILE = "\x1b[31m\u202e\x07\x9b"


@pytest.mark.parametrize(
    "words",
    [
        [HOSTILE],
        ["image", HOSTILE],
        ["check", HOSTILE],
        ["check", "x", HOSTILE],
        ["doctor", HOSTILE],
        ["status", "--socket", HOSTILE],
        ["plan", HOSTILE],
        ["usage", "--since", HOSTILE],
        ["token", "create", HOSTILE, "--builder", "*"],
        ["token", "list", "--file", HOSTILE],
        ["thaw", HOSTILE, "--uri", "test:///default"],
        ["image", "build", HOSTILE, "--output", "x"],
        ["job", "list", "--url", f"http://{HOSTILE}"],
        ["init", f"{HOSTILE}/x"],
    ],
)
def test_no_argument_that_an_error_repeats_commands_the_terminal(
    run: CliRunner, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    result = run.invoke(cli.main, words, color=True)

    assert result.exit_code in {1, 2}
    text = click.unstyle(result.output.replace("\x1b[31m\x1b[1m", "")).replace("\n", "")
    assert "\\x1b[31m" in text
    assert [character for character in text if not character.isprintable()] == []


def test_a_huge_argument_is_not_repeated_as_a_whole(run: CliRunner) -> None:
    for words in (["x" * 100_000], ["check", "x" * 100_000], ["usage", "--since", "x" * 100_000]):
        result = run.invoke(cli.main, words)

        assert result.exit_code in {1, 2}
        assert "x" * 100 in result.output
        assert len(result.output) < 2000


def test_an_error_keeps_its_lines(run: CliRunner, failing: list[Exception]) -> None:
    failing.append(HostError("a\x1b[2Jb", details="c\nd\x07", resolution="e:\n  f"))

    assert run.invoke(cli.main, ["check"]).stderr == ("Error: a\\x1b[2Jb\n  c\n  d\\x07\ne:\n  f\n")


def test_a_width_of_nothing_in_the_environment_is_not_believed(run: CliRunner) -> None:
    words = ["plan", "--jobs-per-hour", "10", "--job-time", "10s"]
    usual = run.invoke(cli.main, words, env={"COLUMNS": None}).stdout

    for width in ("0", "1", "00", "9"):
        assert run.invoke(cli.main, words, env={"COLUMNS": width}).stdout == usual
    assert run.invoke(cli.main, words, env={"COLUMNS": "40"}).stdout != usual


@pytest.mark.parametrize(
    ("module", "more"),
    [
        ("click", ""),
        ("rich", "; main(['status'])"),
        ("jinja2", "; main(['stress', 'small', '--report', 'report'])"),
    ],
)
def test_ctrl_c_while_python_imports_leaves_no_traceback(
    tmp_path: Path, module: str, more: str
) -> None:
    """An import that waits stands for one that takes its time."""
    began = tmp_path / "began"
    slow = f"import pathlib, time; pathlib.Path({str(began)!r}).touch(); time.sleep(600)"
    (tmp_path / f"{module}.py").write_text(slow)
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    with subprocess.Popen(
        [
            "env",
            "--default-signal=INT",
            sys.executable,
            "-c",
            f"from latent_libvirt.cli import main{more}",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
    ) as process:
        deadline = time.monotonic() + 60
        while not began.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _output, errors = process.communicate(timeout=60)

    assert began.exists()
    assert process.returncode == -signal.SIGINT
    assert errors == b""
