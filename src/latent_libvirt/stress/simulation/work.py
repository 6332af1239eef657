# SPDX-License-Identifier: GPL-2.0-only
"""The work of a simulated command: how many lines it says, in which time, and how it ends."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Piece:
    """A part of the output.

    :param seconds: until the next one.
    """

    text: str
    seconds: float


@dataclass(frozen=True)
class Work:
    """What one command does."""

    lines: int = 1
    seconds: float = 0.0
    exit_status: int = 0

    def pieces(self, each: float) -> Iterator[Piece]:
        """Yield the output in pieces, each of which takes *each* seconds at most."""
        count = max(1, math.ceil(self.seconds / each))
        for number in range(count):
            first, last = (self.lines * n // count for n in (number, number + 1))
            text = "".join(f"line {line} of a simulated build\n" for line in range(first, last))
            yield Piece(text, self.seconds / count)
