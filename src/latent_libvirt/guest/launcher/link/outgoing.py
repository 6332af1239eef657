# SPDX-License-Identifier: GPL-2.0-only
"""Outgoing messages of one end of a link, which it sends again after a cut."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from .frames import OVERHEAD, LinkError

if TYPE_CHECKING:
    import random

    from .frames import Frame, Message, Window


class Outgoing:
    """Messages that are to be sent, and those that were and may have to be again."""

    def __init__(self, window: Window, rng: random.Random) -> None:
        self.window = window
        self.waiting: deque[Message] = deque()
        self.first = 0  # the number of the oldest message that is not acknowledged
        self._sent: deque[tuple[Message, int, int]] = deque()  # with its cookie and its size
        self._bytes = 0
        self._rng = rng

    def next(self) -> Message | None:
        """Return the next message that the window allows to send."""
        if not self.waiting or len(self._sent) >= self.window.messages:
            return None
        message = self.waiting[0]
        if self._sent and self._bytes + len(message.payload) + OVERHEAD > self.window.bytes:
            return None
        return message

    def drop(self) -> None:
        """Forget the last message that waits."""
        self.waiting.pop()

    def sent(self) -> tuple[Message, int, int]:
        """Count what :meth:`next` has returned as sent; return it, its number and its cookie."""
        message, cookie = self.waiting.popleft(), self._rng.getrandbits(32)
        number = self.first + len(self._sent)
        size = len(message.payload) + OVERHEAD
        self._sent.append((message, cookie, size))
        self._bytes += size
        return message, number, cookie

    def acknowledge(self, number: int, cookie: int, *, by_cookie: bool) -> bool:
        """Forget the messages before *number*; return whether there were any.

        :param by_cookie: see that the last of them has *cookie*.
        :raises LinkError: it was not sent, or has another cookie.
        """
        count = number - self.first
        if count <= 0:
            return False
        if count > len(self._sent) or (by_cookie and self._sent[count - 1][1] != cookie):
            raise LinkError("the other end acknowledges what it cannot have read")
        for _ in range(count):
            self._bytes -= self._sent.popleft()[2]
        self.first = number
        return True

    def rewind(self, frame: Frame, *, by_cookie: bool) -> None:
        """Go on after a cut: *frame* says which messages the other end has, and has done with.

        Those that it has and has not done with are not sent again. They count until it has.

        :raises LinkError: they were not sent, or were acknowledged before.
        """
        self.acknowledge(frame.acknowledged, frame.acknowledged_cookie, by_cookie=by_cookie)
        there = frame.number - self.first
        if not 0 <= there <= len(self._sent):
            raise LinkError("the other end has messages that were not sent")
        while len(self._sent) > there:
            message, _cookie, size = self._sent.pop()
            self._bytes -= size
            self.waiting.appendleft(message)
