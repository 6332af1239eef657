# SPDX-License-Identifier: GPL-2.0-only
"""Decoder of what arrives through a channel: bytes become frames, also after a cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .frames import LinkError, first_frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from .frames import Frame


class Decoder:
    """Cuts what arrives into frames, from a mark on.

    :param mark: stands before the first frame after an opening.
    :param most: bytes of a payload; what is longer is no frame.
    :param may_be_cut: whether a frame may have no end. A mark is looked for in it then, and found
        in a payload that has one, too.
    """

    def __init__(self, mark: bytes, most: int, may_be_cut: Callable[[], bool]) -> None:
        self._mark = mark
        self._most = most
        self._may_be_cut = may_be_cut
        self.reset()

    def reset(self) -> None:
        """Wait for a mark."""
        self._data = b""
        self._at = 0  # where the next frame begins
        self._searched = 0  # before this place there is no mark
        self.fault: str | None = "there was no mark"
        """What is wrong with what came last, so that nothing counts until the next mark."""

    def feed(self, data: bytes) -> None:
        """Take what has arrived. Ask :meth:`next` for all of its frames before there is more."""
        self._data += data

    def next(self) -> Frame | None:
        """Return the next frame that is complete; ``None`` if there is none."""
        while self._at < len(self._data) and (self.fault is None or self._goes_on()):
            frame = self._next()
            if frame is not None:
                return frame
            if not self._goes_on():
                break
        self._forget(self._at)
        return None

    def _next(self) -> Frame | None:
        """Return the next frame; ``None`` if there is none, and :attr:`fault` says why."""
        try:
            found = first_frame(self._data, self._at, most=self._most)
        except LinkError as error:
            self.fault = str(error)
            return None
        if found is None:
            return None
        frame, self._at = found
        return frame

    def _goes_on(self) -> bool:
        """Go on behind the next mark, if there may be one, and is one."""
        return self._may_be_cut() and self._find_mark()

    def _find_mark(self) -> bool:
        found = self._data.find(self._mark, max(self._at, self._searched))
        if found < 0:
            self._searched = max(self._at, len(self._data) - len(self._mark) + 1)
            if self.fault is not None:
                self._at = self._searched
            return False
        self._at = self._searched = found + len(self._mark)
        self.fault = None
        return True

    def _forget(self, count: int) -> None:
        self._data = self._data[count:]
        self._searched = max(0, self._searched - count)
        self._at = 0
