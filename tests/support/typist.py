# SPDX-License-Identifier: GPL-2.0-only
"""A person at a terminal: a process that has a pseudo terminal, what it shows, what is typed."""

from __future__ import annotations

import os
import pty
import subprocess
import termios
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import children
from buildmaster import DEADLINE, wait_for


class Typist:
    """Somebody who types into a process, and reads."""

    def __init__(
        self, command: Sequence[str | Path], cwd: Path, size: tuple[int, int] | None = None
    ) -> None:
        self._keyboard, self._terminal = pty.openpty()
        if size is not None:
            termios.tcsetwinsize(self._terminal, size)
        self._screen = bytearray()
        self.first_modes = self.modes()
        """The terminal's modes before the process had it."""
        self.process = subprocess.Popen(
            # A session of its own, so that Ctrl-C is a signal, where it should be.
            ["setsid", "--ctty", *children.WITH_US, *command],
            cwd=cwd,
            stdin=self._terminal,
            stdout=self._terminal,
            stderr=self._terminal,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                self._screen += os.read(self._keyboard, 4096)
            except OSError:  # nobody has the terminal any more
                return

    @property
    def screen(self) -> str:
        """All that has been shown so far."""
        return self._screen.decode(errors="replace")

    def modes(self) -> list[Any]:
        """Return the terminal's modes."""
        return termios.tcgetattr(self._terminal)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._keyboard, keys.encode())

    def read_until(self, text: str) -> str:
        """Return what was shown before *text*, and forget it, once that is there."""
        try:
            wait_for(f"{text!r} on the screen", lambda: text in self.screen)
        except AssertionError as error:
            raise AssertionError(f"{error}; it shows:\n{self.screen}") from None
        before, _, rest = self.screen.partition(text)
        del self._screen[: len(self._screen) - len(rest.encode())]
        return before

    def leave(self) -> None:
        """End the process if it still runs, and let go of the terminal."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE)
        os.close(self._terminal)
        self._reader.join(DEADLINE)
        os.close(self._keyboard)


@contextmanager
def typing_into(
    command: Sequence[str | Path], *, cwd: Path, size: tuple[int, int] | None = None
) -> Iterator[Typist]:
    """Run a command at a terminal for the length of a ``with`` block.

    :param size: the terminal's lines and columns.
    """
    typist = Typist(command, cwd, size)
    try:
        yield typist
    finally:
        typist.leave()
