# SPDX-License-Identifier: GPL-2.0-only
"""Recording of what an operator saw of a console, as asciicast (version 2).

What was typed is not in it: a guest echoes what may be seen, and no password.
"""

from __future__ import annotations

import json
from codecs import getincrementaldecoder
from collections.abc import Callable
from typing import Final

MOST: Final = 1024 * 1024
"""Bytes of a recording. What comes after them is left out, and its session ends."""

_WIDTH: Final = 80
_HEIGHT: Final = 24
_LEFT_OUT: Final = "the rest is not recorded"


class Recording:
    """One session.

    :param title: what is recorded, for people.
    :param at: when it began, in seconds since the epoch.
    :param clock: returns seconds, from any start.
    """

    def __init__(self, title: str, *, at: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._lines: list[str] = []
        self._size = 0
        self.is_full = False
        """Whether something was left out."""
        head = {"version": 2, "width": _WIDTH, "height": _HEIGHT}
        self._keep({**head, "timestamp": int(at), "title": title})

    def add(self, output: bytes) -> None:
        """Add what the guest has said."""
        text = self._decoder.decode(output)
        if text and not self.is_full:
            self._keep([self._passed(), "o", text])

    def resize(self, columns: int, rows: int) -> None:
        """Note that the terminal has another size from now on."""
        if not self.is_full:
            self._keep([self._passed(), "r", f"{columns}x{rows}"])

    def value(self) -> bytes:
        """Return all of it, a line of JSON for each event."""
        return "".join(self._lines).encode()

    def _passed(self) -> float:
        return round(self._clock() - self._began, 3)

    def _keep(self, event: object) -> None:
        line = json.dumps(event) + "\n"
        if self._size + len(line) > MOST:
            self.is_full = True
            line = json.dumps([self._passed(), "m", _LEFT_OUT]) + "\n"
        self._lines.append(line)
        self._size += len(line)
