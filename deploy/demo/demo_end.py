# SPDX-License-Identifier: GPL-2.0-only
"""The end of a demo: signals that stop it once, and processes that it must not leave.

The kernel gives this process every orphan among its descendants (prctl(2),
``PR_SET_CHILD_SUBREAPER``). So nothing that the demo has started can escape the last look.
"""

from __future__ import annotations

import ctypes
import os
import signal
import stat
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
KILL_DEADLINE: Final = 10.0  # seconds until processes that were sent SIGKILL are gone
INTERRUPT_DEADLINE: Final = 30.0  # seconds for a command to clean up after itself
POLL_INTERVAL: Final = 0.05  # seconds
_PR_SET_CHILD_SUBREAPER: Final = 36  # of prctl(2)

WITH_US: Final = ("setpriv", "--pdeathsig", "KILL")
"""What to put before a command. Its process is killed when the thread that started it ends."""

_INTERRUPTED_WITH_US: Final = ("setpriv", "--pdeathsig", "INT")


class Ending:
    """The handler of signals: the first one interrupts, and later ones print a line.

    :param limit: seconds that the take-down takes at most.
    """

    def __init__(self, limit: float) -> None:
        self._line = f"\nstopping; this takes up to {limit:.0f} s\n".encode()
        self._has_begun = False

    def listen(self) -> None:
        """Handle the signals from now on, and adopt orphans."""
        for each in SIGNALS:
            if signal.getsignal(each) is not signal.SIG_IGN:  # nohup ignores SIGHUP
                signal.signal(each, self._handle)
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def begin(self) -> None:
        """Interrupt nothing from now on: the take-down has begun."""
        self._has_begun = True

    def _handle(self, which: int, _frame: object) -> None:
        if which == signal.SIGHUP:
            leave_terminal()
        if not self._has_begun:
            self._has_begun = True
            raise KeyboardInterrupt
        with suppress(OSError):
            os.write(1, self._line)  # print() may be what the signal has interrupted


def leave_terminal() -> None:
    """Send output nowhere if it goes to a terminal: writing to a closed one fails."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        if stat.S_ISCHR(os.fstat(descriptor).st_mode):
            os.dup2(nowhere, descriptor)
    os.close(nowhere)


def run_to_end(
    command: Sequence[str], *, capture: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; if this process is interrupted, interrupt it once.

    The command does not see the terminal's Ctrl-C, so a second one cannot disturb its clean-up.

    :param capture: return what it prints.
    """
    output = subprocess.PIPE if capture else None
    with subprocess.Popen(
        [*_INTERRUPTED_WITH_US, *command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            printed, errors = process.communicate()
        except BaseException:
            _interrupt(process)
            raise
    return subprocess.CompletedProcess(command, process.returncode, printed, errors)


def _interrupt(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(INTERRUPT_DEADLINE)
    except subprocess.TimeoutExpired:
        process.kill()


def kill_what_is_left() -> list[str]:
    """SIGKILL all descendants of this process; return the names of those that are there even so."""
    deadline = time.monotonic() + KILL_DEADLINE
    while left := [*descendants(os.getpid())]:
        if time.monotonic() > deadline:
            return [_name(pid) for pid in left]
        for pid in left:
            _kill(pid)
        time.sleep(POLL_INTERVAL)
    return []


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
    with suppress(ChildProcessError):  # somebody else's child
        os.waitpid(pid, os.WNOHANG)


def descendants(pid: int) -> Iterator[int]:
    """Yield the processes that *pid* has started, and those that they have started."""
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, children.read_text().split()):
                yield child
                yield from descendants(child)


def _name(pid: int) -> str:
    try:
        return f"{Path(f'/proc/{pid}/comm').read_text().strip()} ({pid})"
    except OSError:
        return str(pid)
