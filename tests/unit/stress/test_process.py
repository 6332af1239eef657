# SPDX-License-Identifier: GPL-2.0-only
"""Processes of a deployment end with it, whatever they do."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from latent_libvirt.errors import HostError
from latent_libvirt.stress.deployment import process as module
from latent_libvirt.stress.deployment.process import Process, plain_environment

DEAF = """
import signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "600"])
print(child.pid, flush=True)
child.wait()
"""


def started(tmp_path: Path, *command: str) -> Process:
    return Process("it", command, log=tmp_path / "log", environment=plain_environment())


def until_it_says_something(process: Process) -> str:
    while not (text := process.log.read_text()).endswith("\n"):
        process.see_that_it_runs()
    return text


def test_a_process_that_stops_in_good_order_is_not_killed(tmp_path: Path) -> None:
    process = started(
        tmp_path, "sh", "-c", "trap 'exit 7' TERM; echo; while :; do sleep 0.05; done"
    )
    until_it_says_something(process)

    process.stop()
    process.end()

    assert process.status == 7


def ends(pid: int) -> bool:
    """Wait until a process that was killed has ended: it may be a zombie."""
    deadline = time.monotonic() + 60.0
    while time.monotonic() < deadline:
        try:
            if "State:\tZ" in Path(f"/proc/{pid}/status").read_text():
                return True
        except OSError:
            return True
    return False


def test_a_process_that_does_not_stop_is_killed_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STOP_DEADLINE", 0.2)
    process = started(tmp_path, sys.executable, "-c", DEAF)
    child = int(until_it_says_something(process))

    process.stop()
    process.end()

    assert process.status == -9
    assert ends(child)


def test_a_process_that_has_ended_is_reported_with_its_last_lines(tmp_path: Path) -> None:
    process = started(tmp_path, "sh", "-c", "echo no such database; exit 3")
    process.end()

    with pytest.raises(HostError, match="it has ended with status 3") as caught:
        process.see_that_it_runs()

    assert caught.value.details == "no such database"


def test_nothing_of_this_environment_is_given_away_but_what_programs_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SECRET", "secret")

    environment = plain_environment(MORE="more")

    assert environment["PATH"] == os.environ["PATH"]
    assert environment["MORE"] == "more"
    assert "SECRET" not in environment
