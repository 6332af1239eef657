# SPDX-License-Identifier: GPL-2.0-only
"""Master's end of a link, which opens the channel and trusts no guest."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from latent_libvirt.guest.launcher.link.end import End
from latent_libvirt.guest.launcher.link.frames import (
    ACK,
    CLOSE,
    CREDIT,
    DATA,
    HELLO,
    MOST_REDUNDANT,
    NOTHING,
    OPEN,
    OVERHEAD,
    TO_GUEST,
    TO_MASTER,
    WELCOME,
    LinkError,
    Message,
)

if TYPE_CHECKING:
    from latent_libvirt.guest.launcher.link.frames import Frame


_WITH_PAYLOAD: Final = {OPEN: False, DATA: True, CLOSE: False, CREDIT: True}
"""Messages of a guest, and whether they have a payload."""

MOST_OPENINGS: Final = 8
"""Openings in a row without a welcome, for each of which a guest may say a window."""


class MasterLink(End):
    """The master's end, which opens the channel and trusts no guest."""

    def __init__(self, session: str) -> None:
        super().__init__(session, TO_GUEST, TO_MASTER, random.SystemRandom())
        self._opening = 0
        self._has_said_hello = False
        self._openings = 0  # since the last welcome
        self._stale = 0  # bytes since then
        self._redundant = 0

    def opened(self) -> None:
        """Say ``HELLO``: the channel was opened, for the first time or again."""
        self._opening += 1
        self._openings += 1
        self._redundant = 0
        self.is_open = False
        self._has_said_hello = True
        self._decoder.reset()
        self._say(HELLO, self._opening)

    def cut(self) -> None:
        """Send and believe nothing until the channel is opened again."""
        self.is_open = self._has_said_hello = False
        self._output = []

    def received(self, data: bytes) -> list[Message]:
        """Return the messages that *data* completes.

        :raises LinkError: the guest has broken the rules.
        """
        if not self._has_said_hello:
            return []
        if not self.is_open:
            self._note_stale(len(data))
        found = self._messages_in(data)
        if self.is_open and self._decoder.fault is not None:
            raise LinkError(self._decoder.fault)
        return found

    def _may_be_cut(self) -> bool:
        return not self.is_open

    def _note_stale(self, count: int) -> None:
        """Bound what a guest says before its ``WELCOME``: it may not have noticed a cut yet.

        It has a window under way, and sends one again for each ``HELLO`` that it has heard. What
        is counted begins with its last welcome, so that openings which lead to none earn little.
        """
        self._stale += count
        slack = 2 * self._theirs.payload + OVERHEAD * self._theirs.messages
        windows = 1 + min(self._openings, MOST_OPENINGS)
        if self._stale > windows * (self._theirs.bytes + slack):
            raise LinkError("the guest says much, and no welcome")

    def _heard(self, frame: Frame) -> Message | None:
        if self.is_open:
            return self._open_heard(frame)
        if self._is_welcome(frame):
            self._outgoing.rewind(frame, by_cookie=True)
            self.is_open = True
            self._openings = self._stale = 0
        return None

    def _is_welcome(self, frame: Frame) -> bool:
        said = (frame.kind, frame.payload, frame.connection)
        return said == (WELCOME, self._session, self._opening)

    def _open_heard(self, frame: Frame) -> Message | None:
        new = self._outgoing.acknowledge(
            frame.acknowledged, frame.acknowledged_cookie, by_cookie=True
        )
        if frame.kind == ACK:
            self._redundant += not new
            if self._redundant > MOST_REDUNDANT:
                raise LinkError("the guest acknowledges the same again and again")
            return None
        self._check(frame)
        return self._take(frame)

    def _check(self, frame: Frame) -> None:
        if frame.kind not in _WITH_PAYLOAD or frame.number != self._received:
            raise LinkError("the guest's messages are out of order")
        if bool(frame.payload) != _WITH_PAYLOAD[frame.kind]:
            raise LinkError("a message of the guest is malformed")
        too_many = len(self._sizes) >= self._theirs.messages
        if too_many or sum(self._sizes) + len(frame.payload) > self._theirs.bytes:
            raise LinkError("the guest sends more than it may")

    def _acknowledge(self) -> None:
        """Acknowledge in good time: even that counts, for a guest that does not read."""
        due = self._consumed - self._acknowledged
        used = sum(size for size, _ in zip(self._sizes, range(due), strict=False))
        if 4 * due < self._theirs.messages and 4 * used < self._theirs.bytes:
            return
        self._outgoing.waiting.append(Message(NOTHING, 0))
        if self._outgoing.next() is not None:
            self._send_next()
        else:
            self._outgoing.drop()
