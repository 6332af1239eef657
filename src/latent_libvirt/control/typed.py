# SPDX-License-Identifier: GPL-2.0-only
"""Queue of what an operator has typed, and what the guest has not been sent yet.

A connection that is paused can still bring what has been read of it, in thousands of messages.
"""

from __future__ import annotations

from typing import Final

from latent_libvirt.control.frames import CLOSE

PIECE: Final = 32 * 1024
"""Bytes up to which what was typed is joined to one piece."""

MOST: Final = 40
"""Pieces that wait. A connection that stops when it is paused brings a few."""


class Typed:
    """What was typed, in order."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def add(self, data: bytes) -> bool:
        """Take *data*; return whether there is still room for more."""
        last = self._pieces[-1] if self._pieces else b""
        if data == CLOSE and last.endswith(CLOSE):
            return True
        if last and not last.endswith(CLOSE) and len(last) + len(data) <= PIECE:
            self._pieces[-1] = last + data
        else:
            self._pieces.append(data)
        return len(self._pieces) < MOST

    def pop(self) -> bytes | None:
        """Return the next piece, and forget it; ``None`` if there is none."""
        return self._pieces.pop(0) if self._pieces else None

    def keep_only_close(self) -> None:
        """Forget everything but that the shell is to end, if that was the last."""
        closes = bool(self._pieces) and self._pieces[-1].endswith(CLOSE)
        self._pieces = [CLOSE] if closes else []
