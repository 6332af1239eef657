# SPDX-License-Identifier: GPL-2.0-only
"""Guest's end of a link, which answers."""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING

from .end import End
from .frames import ACK, HELLO, MESSAGES, TO_GUEST, TO_MASTER, WELCOME, LinkError

if TYPE_CHECKING:
    from .frames import Frame, Message


class GuestLink(End):
    """The guest's end, which answers.

    What does not fit is dropped: the channel was cut, and the master's end opens it again.
    """

    def __init__(self, session: str) -> None:
        super().__init__(session, TO_MASTER, TO_GUEST, random.Random())  # noqa: S311 - no secret
        self._cookies: deque[int] = deque()  # of what was received and not consumed
        self.openings = 0
        """How often the master's end has said ``HELLO``."""

    def received(self, data: bytes) -> list[Message]:
        """Return the messages that *data* completes."""
        return self._messages_in(data)

    def _heard(self, frame: Frame) -> Message | None:
        try:
            if frame.kind == HELLO:
                self._answer(frame)
                return None
            self._outgoing.acknowledge(frame.acknowledged, 0, by_cookie=False)
        except LinkError:
            return None
        if frame.kind not in MESSAGES or frame.number != self._received:
            return None
        self._cookies.append(frame.cookie)
        return self._take(frame)

    def _answer(self, frame: Frame) -> None:
        if frame.payload == self._session:
            self._outgoing.rewind(frame, by_cookie=False)
            self._say(WELCOME, frame.connection)
            self.is_open = True
            self.openings += 1

    def consumed(self) -> None:
        """Note that this end has done with the oldest message that it has not noted yet."""
        self._consumed += 1
        self._cookie = self._cookies.popleft()

    @property
    def owes(self) -> bool:
        """Whether something is to be acknowledged that nothing else has acknowledged yet."""
        return self._consumed > self._acknowledged

    def acknowledge(self) -> None:
        """Acknowledge that now: nothing has been sent for a while that would have done so."""
        if self.is_open and self.owes:
            self._write((ACK, 0, 0, 0))

    def _acknowledge(self) -> None:
        """Acknowledge before the master's end has to wait for it."""
        due = self._consumed - self._acknowledged
        if 2 * due >= self._theirs.messages or self._is_half(due):
            self._write((ACK, 0, 0, 0))

    def _is_half(self, due: int) -> bool:
        return 2 * sum(size for size, _ in zip(self._sizes, range(due))) >= self._theirs.bytes
