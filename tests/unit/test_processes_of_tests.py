# SPDX-License-Identifier: GPL-2.0-only
"""Processes that tests start: whatever ends the tests, they end too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import children
from buildmaster import wait_for

TESTS = """
import subprocess, threading, time
from pathlib import Path
import children

ANSWER_TWICE = "read line; echo; read line; echo; exec sleep 600"

def begin():
    global child
    command = [*children.WITH_US, "sh", "-c", ANSWER_TWICE]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    child = children.begun(lambda: subprocess.Popen(command, **pipes))
    ask()

def ask():
    child.stdin.write(bytes([10]))
    child.stdin.flush()
    return child.stdout.readline()

thread = threading.Thread(target=begin)
thread.start()
thread.join()
while Path("/proc/self/task", str(thread.native_id)).exists():
    time.sleep(0.01)
print(child.pid if ask() else "killed", flush=True)
time.sleep(600)
"""


def test_a_process_outlives_the_thread_that_wanted_it_and_not_the_tests() -> None:
    with subprocess.Popen(
        [*children.WITH_US, sys.executable, "-c", TESTS],
        env=os.environ | {"PYTHONPATH": str(Path(children.__file__).parent)},
        stdout=subprocess.PIPE,
        text=True,
    ) as tests:
        assert tests.stdout is not None
        child = tests.stdout.readline().strip()
        assert child.isdigit()
        command = Path("/proc", child, "cmdline")

        tests.send_signal(signal.SIGKILL)

        wait_for("its end", lambda: not command.exists() or not command.read_text())


class CtrlCError(Exception):
    """Stands for Ctrl-C, which would end pytest as well."""


def test_who_is_interrupted_while_a_process_starts_has_the_process() -> None:
    kept: list[str] = []
    may_begin = threading.Event()

    def interrupted(*_: object) -> None:
        if not may_begin.is_set():
            may_begin.set()
            raise CtrlCError

    def start() -> str:
        # A signal right before the main thread begins to wait is not seen until the next.
        while not may_begin.wait(0.05):
            os.kill(os.getpid(), signal.SIGUSR1)
        return "the process"

    before = signal.signal(signal.SIGUSR1, interrupted)
    try:
        with pytest.raises(CtrlCError):
            children.begun(start, keep=kept.append)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert kept == ["the process"]
