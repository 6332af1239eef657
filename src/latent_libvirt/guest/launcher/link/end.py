# SPDX-License-Identifier: GPL-2.0-only
"""End of a link, as far as it is the same for the master and the guest."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from .decoder import Decoder
from .frames import Message, encoded, mark_of
from .outgoing import Outgoing

if TYPE_CHECKING:
    import random

    from .frames import Frame, Window


class End:
    """One end of a link.

    :param session: what both ends were given for the VM's life as a worker.
    :param ours: what this end may send.
    :param theirs: what the other end may send.
    :param rng: for the cookies of messages.
    """

    def __init__(self, session: str, ours: Window, theirs: Window, rng: random.Random) -> None:
        self._session = bytes.fromhex(session)
        self._outgoing = Outgoing(ours, rng)
        self.payload = ours.payload
        """Most bytes of one message that is sent."""
        self._mark = mark_of(self._session)
        self._decoder = Decoder(self._mark, theirs.payload, self._may_be_cut)
        self._output: list[bytes] = []
        self._theirs = theirs
        self._received = 0  # messages
        self._consumed = 0
        self._cookie = 0  # of the newest of those, where they have one
        self._acknowledged = 0
        self._sizes: deque[int] = deque()  # of those that are not acknowledged
        self.is_open = False
        """Whether both ends have said what they have."""

    @property
    def has_room(self) -> bool:
        """Whether what is sent now goes out at once."""
        return self.is_open and not self._outgoing.waiting

    def send(self, message: Message) -> None:
        """Send *message* as soon as the window allows."""
        self._outgoing.waiting.append(message)

    def consumed(self) -> None:
        """Note that this end has done with the oldest message that it has not noted yet."""
        self._consumed += 1

    def take_output(self) -> bytes:
        """Return what is to be written to the channel now."""
        if self.is_open:
            waiting = self._outgoing.waiting
            while waiting and self._outgoing.next() is not None:
                self._send_next()
            if self._consumed > self._acknowledged:
                self._acknowledge()
        if not self._output:
            return b""
        output, self._output = b"".join(self._output), []
        return output

    def _send_next(self) -> None:
        message, number, cookie = self._outgoing.sent()
        self._write((message.kind, message.connection, number, cookie), message.payload)

    def _acknowledge(self) -> None:
        raise NotImplementedError

    def _may_be_cut(self) -> bool:
        """Whether what arrives may be of a time before a cut."""
        return True

    def _write(self, fields: tuple[int, int, int, int], payload: bytes = b"") -> None:
        """Write a frame, which also acknowledges what this end has done with.

        :param fields: its kind, connection, number and cookie.
        """
        while self._acknowledged < self._consumed:
            self._sizes.popleft()
            self._acknowledged += 1
        self._output.append(encoded((*fields, self._consumed, self._cookie), payload))

    def _say(self, kind: int, opening: int) -> None:
        """Say how many messages are here: the other end goes on from there."""
        self._output = [self._mark]
        self._write((kind, opening, self._received, 0), self._session)

    def _messages_in(self, data: bytes) -> list[Message]:
        """Return the messages that *data* completes."""
        self._decoder.feed(data)
        found = []
        while (frame := self._decoder.next()) is not None:
            message = self._heard(frame)
            if message is not None:
                found.append(message)
        return found

    def _heard(self, frame: Frame) -> Message | None:
        """Act on *frame*; return its message if it is a new one."""
        raise NotImplementedError

    def _take(self, frame: Frame) -> Message:
        self._received += 1
        self._sizes.append(len(frame.payload))
        return Message(frame.kind, frame.connection, frame.payload)
