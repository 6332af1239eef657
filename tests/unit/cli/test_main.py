# SPDX-License-Identifier: GPL-2.0-only
"""The command as such: its commands, its errors, its exit statuses."""

from __future__ import annotations

import os
import subprocess
import sys
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


def test_what_takes_long_to_import_is_imported_where_an_interrupt_is_no_traceback() -> None:
    """Ctrl-C is told in a word from the moment that click has begun."""
    code = "import sys, latent_libvirt.cli; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert not {"pydantic", "libvirt", "twisted", "buildbot"} & set(ended.stdout.split())


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["check", "--help"], ["schema"]])
def test_a_full_disk_is_told_in_a_sentence(arguments: list[str], unbuffered: str) -> None:
    command = [sys.executable, "-c", "from latent_libvirt.cli import main; main()", *arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=environment
        )

    assert (ended.returncode, ended.stderr) == (1, "Error: No space left on device\n")


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


@pytest.mark.parametrize("command", [["--help"], ["schema"], ["image", "--help"]])
def test_who_reads_no_further_gets_no_traceback(command: list[str]) -> None:
    program = Path(sys.executable).with_name("latent-libvirt")
    pipe = subprocess.Popen([program, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert pipe.stdout is not None
    pipe.stdout.close()
    _, told = pipe.communicate(timeout=60)

    assert b"Traceback" not in told


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "ascii:strict"},
        {"PYTHONIOENCODING": "latin-1"},
    ],
)
def test_a_terminal_that_knows_few_characters_gets_escapes(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    program = Path(sys.executable).with_name("latent-libvirt")
    path = tmp_path / "ž\udcff.yaml"
    shown = subprocess.run(
        [program, "check", path],
        env=dict(os.environ) | environment,
        capture_output=True,
        check=False,
    )

    assert shown.returncode == 1
    assert b"cannot be read: No such file" in shown.stderr
    assert b"Traceback" not in shown.stderr


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
