# SPDX-License-Identifier: GPL-2.0-only
"""Frames: the form of what a master sends once a connection carries a console.

What a guest says must not look like what the master says of it, and the end of a VM not like that
of the master. The other way, from the operator to the guest, goes what is typed and nothing else.

A frame is a letter for its kind, the length of what follows in four bytes, the highest first, and
that.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from typing import Final

CLOSE: Final = b"\x03\x04"
"""Ctrl-C and Ctrl-D, with which an operator leaves: what runs in front ends, and the shell."""

ANOTHER: Final = "Enter opens another one."
"""The end of the notice that another operator has closed the shell; terminal.js knows it, too."""

_HEAD = struct.Struct(">cI")


class Kind(Enum):
    """Kind of a frame."""

    OUTPUT = b"o"
    """Bytes from the guest."""
    NOTICE = b"n"
    """A sentence of the master's, in UTF-8."""
    END = b"e"
    """Why the VM is gone, in UTF-8; the last frame."""
    CLOSED = b"c"
    """Why the master ends the session although the VM lives, in UTF-8; the last frame."""


@dataclass(frozen=True)
class Frame:
    """A frame."""

    kind: Kind
    content: bytes

    def __bytes__(self) -> bytes:
        return _HEAD.pack(self.kind.value, len(self.content)) + self.content

    @property
    def text(self) -> str:
        """Its content, where that is a sentence."""
        return self.content.decode(errors="replace")


class FrameDecoder:
    """Puts frames together, however they have been cut."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that *data* completes.

        :raises ValueError: if that is no frame.
        """
        self._rest += data
        frames = []
        while (frame := self._next()) is not None:
            frames.append(frame)
        return frames

    def _next(self) -> Frame | None:
        if len(self._rest) < _HEAD.size:
            return None
        kind, length = _HEAD.unpack_from(self._rest)
        frame = Frame(Kind(kind), self._rest[_HEAD.size : _HEAD.size + length])
        if len(frame.content) < length:
            return None
        self._rest = self._rest[_HEAD.size + length :]
        return frame
