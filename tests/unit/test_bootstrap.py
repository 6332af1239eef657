# SPDX-License-Identifier: GPL-2.0-only
"""The decisions of ``bootstrap``; that it brings everything shows wherever these tests run."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

PRIVILEGES = [
    pytest.param(0, False, 1, False, [], id="root needs no sudo"),
    pytest.param(1000, True, 0, False, ["sudo", "-n"], id="sudo without a password"),
    pytest.param(1000, True, 1, True, ["sudo"], id="sudo may ask on a terminal"),
    pytest.param(1000, True, 1, False, None, id="sudo must not ask elsewhere"),
    pytest.param(1000, False, 1, True, None, id="no sudo at all"),
]


@pytest.fixture
def bootstrap(pytestconfig: pytest.Config) -> ModuleType:
    """Give the script as a module."""
    loader = SourceFileLoader("bootstrap", str(pytestconfig.rootpath / "bootstrap"))
    spec = importlib.util.spec_from_loader("bootstrap", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def _answer(monkeypatch: pytest.MonkeyPatch, *, status: int, output: str = "") -> list[list[str]]:
    """Let every command end with this status and output; return what was run."""
    ran: list[list[str]] = []

    def run(command: list[str], **_how: object) -> subprocess.CompletedProcess[str]:
        ran.append(command)
        return subprocess.CompletedProcess(command, status, output, "")

    monkeypatch.setattr(subprocess, "run", run)
    return ran


def test_each_purpose_needs_what_the_demo_needs_and_more(bootstrap: ModuleType) -> None:
    demo, multimaster, tests = map(bootstrap.packages_for, ([], ["multimaster"], ["tests"]))

    assert demo < multimaster < tests
    assert demo < bootstrap.packages_for(["peers"])
    assert "qemu-system-arm" in bootstrap.packages_for(["long"]) - tests


def test_an_unknown_purpose_is_named_with_those_that_are_known(
    bootstrap: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bootstrap.main(["test"]) == 1
    assert capsys.readouterr().err == (
        "bootstrap: test: only multimaster, peers, long, tests can be asked for.\n"
    )


@pytest.mark.parametrize(("user", "sudo", "status", "terminal", "expected"), PRIVILEGES)
def test_privilege(
    bootstrap: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    *,
    user: int,
    sudo: bool,
    status: int,
    terminal: bool,
    expected: list[str] | None,
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: user)
    monkeypatch.setattr("shutil.which", lambda _name: "/usr/bin/sudo" if sudo else None)
    monkeypatch.setattr("sys.stdin.isatty", lambda: terminal, raising=False)
    _answer(monkeypatch, status=status)
    assert bootstrap.privilege() == expected


def test_without_privilege_one_sentence_says_what_to_run(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "privilege", lambda: None)
    with pytest.raises(bootstrap.StopError) as raised:
        bootstrap.install_packages(["mmdebstrap", "qemu-utils"])
    assert str(raised.value).endswith(
        "as root, run: apt-get update && "
        "apt-get install --yes --no-install-recommends mmdebstrap qemu-utils"
    )
    assert "\n" not in str(raised.value)


def test_packages_are_installed_after_an_update_and_without_questions(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "privilege", lambda: ["sudo", "-n"])
    ran = _answer(monkeypatch, status=0)
    bootstrap.install_packages(["mmdebstrap"])
    update, install = ran
    assert update[-2:] == ["apt-get", "update"]
    assert install[:4] == ["sudo", "-n", "env", "DEBIAN_FRONTEND=noninteractive"]
    assert install[-2:] == ["--no-install-recommends", "mmdebstrap"]


def test_nothing_is_run_when_all_packages_are_there(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = {*bootstrap.PACKAGES, *bootstrap.python_packages()}
    monkeypatch.setattr(bootstrap, "installed_packages", lambda: everything)
    monkeypatch.setattr(bootstrap, "install_packages", pytest.fail)
    bootstrap.bring_packages(bootstrap.packages_for([]))


def test_a_package_that_was_removed_but_configured_counts_as_missing(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    _answer(monkeypatch, status=0, output="config-files mmdebstrap\ninstalled qemu-utils\n")
    assert bootstrap.installed_packages() == {"qemu-utils"}


def test_headers_and_venv_are_asked_for_in_the_interpreters_own_version(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    monkeypatch.setattr("sysconfig.get_path", lambda _name: str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert list(bootstrap.python_packages()) == [f"{version}-dev", f"{version}-venv"]
    (tmp_path / "Python.h").touch()
    assert list(bootstrap.python_packages()) == [f"{version}-venv"]


def test_an_old_python_is_refused_with_what_to_type(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "OLDEST_PYTHON", (99, 1))
    assert bootstrap.main([]) == 1
    assert "make PYTHON=python99.1 demo" in capsys.readouterr().err


def test_progress_counts_requirements_and_passes_all_lines_on(bootstrap: ModuleType) -> None:
    shown: list[str] = []
    lines = ["Collecting lxml==6.0 (from -r requirements.txt)\n", "  Downloading\n"]
    lines += ["Requirement already satisfied: click==8.1 in lib\n", "Installing collected\n"]
    assert list(bootstrap.report_progress(lines, 2, shown.append)) == lines
    assert shown == ["[1/2] lxml", "[2/2] click", "Installing collected", ""]


@pytest.mark.parametrize(
    ("missing", "is_there", "changes"),
    [
        (["postgresql"], False, True),
        (["postgresql"], True, False),  # anyone who has it already decides for themselves
        (["make"], False, False),
    ],
)
def test_a_postgresql_that_it_installs_starts_nothing(
    bootstrap: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    missing: list[str],
    is_there: bool,
    changes: bool,
) -> None:
    settings = tmp_path / "createcluster.conf"
    monkeypatch.setattr(bootstrap, "CLUSTERS", str(settings))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    if is_there:
        settings.touch()
    ran = _answer(monkeypatch, status=0)

    bootstrap.install_packages(missing)

    changed = [command for command in ran if "sed" in command]
    assert bool(changed) is changes
    if changed:
        assert ran.index(changed[0]) < next(i for i, c in enumerate(ran) if c[-1] == "postgresql")


def test_an_interrupt_is_one_line(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bootstrap, "check_python", interrupted)
    assert bootstrap.main([]) == 130
    assert capsys.readouterr().err == "\nbootstrap: interrupted; the next run continues\n"


def test_sigterm_ends_pip_as_well(
    bootstrap: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip = tmp_path / "bin/python"
    pip.parent.mkdir()
    pip.write_text("#!/bin/sh\necho Collecting something\nexec sleep 600\n")
    pip.chmod(0o755)
    monkeypatch.setattr(bootstrap, "VENV", tmp_path)

    def show(_text: str) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(bootstrap, "show_progress", lambda: show)
    with pytest.raises(KeyboardInterrupt):
        bootstrap.pip_install(expected=1, temporary=str(tmp_path))


def test_temporary_files_are_removed_at_the_end_and_those_of_a_killed_run_at_the_start(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bootstrap, "CACHE", tmp_path)
    monkeypatch.setattr(bootstrap, "LOCKED", tmp_path / "bootstrap.lock")
    (tmp_path / "bootstrap-killed").mkdir()

    with suppress(KeyboardInterrupt), bootstrap.temporary_directory() as temporary:
        (Path(temporary) / "pip-unpack").mkdir()
        assert not (tmp_path / "bootstrap-killed").exists()
        raise KeyboardInterrupt

    assert [path.name for path in tmp_path.iterdir()] == ["bootstrap.lock"]


def test_a_log_has_a_line_of_progress_now_and_then(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    show = bootstrap.NowAndThen()
    for now in (1.0, 10.0, 11.0, 21.0):  # what time.monotonic returns
        show(f"at {now:.0f}")
    assert capsys.readouterr().out == "bootstrap: at 10\nbootstrap: at 21\n"
