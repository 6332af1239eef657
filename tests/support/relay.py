# SPDX-License-Identifier: GPL-2.0-only
"""A relay between two sockets, in a process of its own: what can be cut or stopped on the way."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import children

PROGRAM = Path(__file__).with_name("relay_program.py")


class Relay:
    """A relay that runs.

    :param enter: what to put before its command, so that it runs elsewhere.
    """

    def __init__(self, listen: str, target: str, *, enter: Sequence[str] = ()) -> None:
        program = (sys.executable, "-I", "-S", str(PROGRAM))
        self._command = [*enter, *children.WITH_US, *program, listen, target]
        self._listen = listen
        self._process = self._start()

    def _start(self) -> subprocess.Popen[str]:
        process = children.begun(
            lambda: subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def cut(self) -> None:
        """Break all connections that there are; new ones can be made."""
        self.stop()
        self._process = self._start()

    def suspend(self) -> None:
        """Let connections stand and new ones be accepted, and carry nothing any more."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Carry again, also what was sent in the meantime."""
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()
        if "/" in self._listen:
            Path(self._listen).unlink(missing_ok=True)
