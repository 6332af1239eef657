# SPDX-License-Identifier: GPL-2.0-only
"""The link: messages of connections through a channel that may be cut and opened again.

A virtio-serial channel loses what is under way when libvirtd ends or its client closes the stream.
So each message has a number, the sender keeps it until the other end has acknowledged it, and
sends it again after a cut. The master's end opens the channel, says ``HELLO`` with the number of
messages that it has, and hears ``WELCOME`` with the guest's number. Nothing is lost or doubled.

A frame is what stands between two flags (:data:`FLAG`), with a checksum. A flag in a frame is
escaped, as in HDLC: half of a frame that was cut never swallows the next one.

Each end has a window, in bytes and in messages, for what it may send without an acknowledgement.
The master's end trusts nobody. It fails on a guest that sends more, or anything that is no frame.
Its own messages carry a random cookie, and an acknowledgement has to name it: a guest that does
not read cannot claim that it does.

Plain logic without any input or output, for both ends. Images carry a copy of this file beside the
launcher: it needs Python 3.8 and its standard library alone.
"""

from __future__ import annotations

import random
import struct
import zlib
from collections import deque
from dataclasses import dataclass
from typing import Final, NamedTuple

VERSION: Final = 2
"""Version of the link: both ends speak the same one, or none."""

SESSION_DIGITS: Final = 16
"""Hexadecimal digits of a session: one VM's life as one worker."""

FLAG: Final = b"\x7e"
ESCAPE: Final = b"\x7d"
_ESCAPED: Final = ((ESCAPE, b"\x7d\x5d"), (FLAG, b"\x7d\x5e"))

HELLO: Final = 1
WELCOME: Final = 2
ACK: Final = 3
OPEN: Final = 4
"""Begins a connection."""
DATA: Final = 5
CLOSE: Final = 6
"""Ends a connection; both ends send it."""
NOTHING: Final = 7
"""Carries an acknowledgement, where even those are counted."""
CREDIT: Final = 8
"""Lets the other end send more bytes of a connection, where several share a link."""
_MESSAGES: Final = (OPEN, DATA, CLOSE, NOTHING, CREDIT)

CONNECTION_BYTES: Final = 64 * 1024
"""Bytes of one of several connections that may be sent before they are read."""

MOST_CONNECTIONS: Final = 16
"""Connections that share a link at one time; npm opens 15."""

_HEADER: Final = struct.Struct(">BIQIQI")  # kind, connection, number, cookie, acknowledged, cookie
_CHECKSUM: Final = struct.Struct(">I")
OVERHEAD: Final = 2 * (_HEADER.size + _CHECKSUM.size) + 2
"""Most bytes that a frame has besides its payload."""

MOST_REDUNDANT: Final = 64
"""Acknowledgements that say nothing new which a guest may send after each opening."""


class LinkError(Exception):
    """The other end has broken the rules of the link."""


@dataclass(frozen=True)
class Window:
    """What may be sent without an acknowledgement.

    :param bytes: of the frames, flags and escapes included.
    :param payload: bytes of one message.
    """

    bytes: int
    messages: int
    payload: int


TO_GUEST: Final = Window(48 * 1024, 8, 15 * 1024)
"""Towards a guest. What one that never reads is sent fits into the sockets and queues on the way,
and leaves libvirtd no unfinished request. With five of them, libvirtd reads no more of a
connection. 80 messages of 64 bytes, or 9 of 16 KiB, were measured to do that."""

TO_MASTER: Final = Window(256 * 1024, 64, 30 * 1024)
"""Towards the master, whose libvirt client keeps whatever comes. The guest's kernel takes 32 KiB at
once, so that a message is one write."""


class Message(NamedTuple):
    """A message of a connection.

    :param kind: :data:`OPEN`, :data:`DATA` or :data:`CLOSE`.
    :param connection: its number; each new connection has a larger one.
    """

    kind: int
    connection: int
    payload: bytes = b""


class _Frame(NamedTuple):
    """A frame: quick to make, for an emulated guest makes many."""

    kind: int
    connection: int
    number: int
    cookie: int
    acknowledged: int
    acknowledged_cookie: int
    payload: bytes = b""

    def encode(self) -> bytes:
        header = _HEADER.pack(
            self.kind,
            self.connection,
            self.number,
            self.cookie,
            self.acknowledged,
            self.acknowledged_cookie,
        )
        checksum = _CHECKSUM.pack(zlib.crc32(self.payload, zlib.crc32(header)))
        return FLAG + escaped(header + self.payload + checksum) + FLAG


def escaped(data: bytes) -> bytes:
    """Return *data* without a flag in it."""
    for plain, instead in _ESCAPED:
        data = data.replace(plain, instead)
    return data


def _size(payload: bytes) -> int:
    """Return the most bytes of a frame with *payload*."""
    return len(payload) + payload.count(FLAG) + payload.count(ESCAPE) + OVERHEAD


def unescaped(data: bytes) -> bytes:
    """Return what :func:`escaped` was given."""
    if ESCAPE in data:
        for plain, instead in reversed(_ESCAPED):
            data = data.replace(instead, plain)
    return data


def _decoded(piece: bytes) -> _Frame:
    """Return the frame between two flags.

    :raises LinkError: it is none.
    """
    data = unescaped(piece)
    end = len(data) - _CHECKSUM.size
    if end < _HEADER.size or _CHECKSUM.unpack_from(data, end) != (zlib.crc32(data[:end]),):
        raise LinkError("what came through the channel is no frame")
    kind, connection, number, cookie, *done = _HEADER.unpack_from(data)
    payload = data[_HEADER.size : end]
    return _Frame(kind, connection, number, cookie, done[0], done[1], payload)


class Decoder:
    """Cuts what arrives into frames.

    :param most: bytes of a piece; what is longer is no frame.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the pieces between flags that *data* completes.

        :raises LinkError: what comes has no end in sight.
        """
        *pieces, self._rest = (self._rest + data).split(FLAG)
        if len(self._rest) > self._most:
            self._rest = b""
            raise LinkError("a frame is too long")
        return [piece for piece in pieces if piece]

    def reset(self) -> None:
        """Forget the beginning of a frame."""
        self._rest = b""


class _Outgoing:
    """Messages that are to be sent, and those that were and may have to be again."""

    def __init__(self, window: Window, rng: random.Random) -> None:
        self.window = window
        self.waiting: deque[Message] = deque()
        self._size = 0  # of the first of them, once that is known
        self.first = 0  # the number of the oldest message that is not acknowledged
        self._sent: deque[tuple[Message, int, int]] = deque()  # with its cookie and its size
        self._bytes = 0
        self._next_cookie = 0
        self._rng = rng

    @property
    def number(self) -> int:
        """The number of the next message."""
        return self.first + len(self._sent)

    @property
    def newest(self) -> int:
        """The cookie of the newest message that was sent."""
        return self._sent[-1][1] if self._sent else 0

    def next(self) -> Message | None:
        """Return the next message that the window allows to send."""
        if not self.waiting or len(self._sent) >= self.window.messages:
            return None
        self._size = self._size or _size(self.waiting[0].payload)
        if self._sent and self._bytes + self._size > self.window.bytes:
            return None
        return self.waiting[0]

    def drop(self) -> None:
        """Forget the last message that waits."""
        self.waiting.pop()
        self._size = 0

    def sent(self) -> tuple[int, int]:
        """Count the next message as sent; return its number and its cookie."""
        number, message = self.number, self.waiting.popleft()
        cookie = self._rng.getrandbits(32)
        size, self._size = self._size, 0
        self._sent.append((message, cookie, size))
        self._bytes += size
        return number, cookie

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

    def rewind(self, frame: _Frame, *, by_cookie: bool) -> None:
        """Go on after a cut: *frame* says which messages the other end has, and has done with.

        Those that it has and has not done with are not sent again. They count until it has.

        :raises LinkError: they were not sent, or were acknowledged before.
        """
        self.acknowledge(frame.acknowledged, frame.acknowledged_cookie, by_cookie=by_cookie)
        self._size = 0
        there = frame.number - self.first
        if not 0 <= there <= len(self._sent):
            raise LinkError("the other end has messages that were not sent")
        while len(self._sent) > there:
            message, _cookie, size = self._sent.pop()
            self._bytes -= size
            self.waiting.appendleft(message)


class _Link:
    """One end of a link.

    :param session: what both ends were given for the VM's life as a worker.
    :param ours: what this end may send.
    :param theirs: what the other end may send.
    """

    def __init__(self, session: str, ours: Window, theirs: Window) -> None:
        self._session = bytes.fromhex(session)
        self._outgoing = _Outgoing(ours, random.SystemRandom())
        self._decoder = Decoder(2 * theirs.payload + OVERHEAD)
        self._output: list[bytes] = []
        self._theirs = theirs
        self._received = 0  # messages
        self._cookie = 0  # of the newest of them
        self._consumed = 0
        self._acknowledged = 0
        self._sizes: deque[int] = deque()  # of those that are not acknowledged
        self.is_open = False
        """Whether both ends have said what they have."""

    @property
    def has_room(self) -> bool:
        """Whether what is sent now goes out at once."""
        return self.is_open and not self._outgoing.waiting

    @property
    def payload(self) -> int:
        """Most bytes of one message that is sent."""
        return self._outgoing.window.payload

    def send(self, message: Message) -> None:
        """Send *message* as soon as the window allows."""
        self._outgoing.waiting.append(message)

    def consumed(self) -> None:
        """Note that this end has done with the oldest message that it has not noted yet."""
        self._consumed += 1

    def take_output(self) -> bytes:
        """Return what is to be written to the channel now."""
        if self.is_open:
            while self._outgoing.next() is not None:
                self._send_next()
            self._acknowledge()
        output, self._output = b"".join(self._output), []
        return output

    def _send_next(self) -> None:
        message = self._outgoing.waiting[0]
        number, cookie = self._outgoing.sent()
        self._write(message.kind, message.connection, number, cookie, message.payload)

    def _acknowledge(self) -> None:
        raise NotImplementedError

    def _write(
        self, kind: int, connection: int = 0, number: int = 0, cookie: int = 0, payload: bytes = b""
    ) -> None:
        for _ in range(self._consumed - self._acknowledged):
            self._sizes.popleft()
        self._acknowledged = self._consumed
        done = (self._consumed, self._cookie_of_consumed())
        self._output.append(_Frame(kind, connection, number, cookie, *done, payload).encode())

    def _cookie_of_consumed(self) -> int:
        return 0

    def _say(self, kind: int, opening: int) -> None:
        """Say how many messages are here: the other end goes on from there."""
        self._output = []
        self._write(kind, opening, self._received, 0, self._session)

    def _take(self, frame: _Frame) -> Message:
        self._received += 1
        self._sizes.append(len(frame.payload))
        return Message(frame.kind, frame.connection, frame.payload)


class MasterLink(_Link):
    """The master's end, which opens the channel and trusts no guest."""

    def __init__(self, session: str) -> None:
        super().__init__(session, TO_GUEST, TO_MASTER)
        self._opening = 0
        self._stale = 0
        self._redundant = 0

    def opened(self) -> None:
        """Say ``HELLO``: the channel was opened, for the first time or again."""
        self._opening += 1
        self._stale = self._redundant = 0
        self.is_open = False
        self._decoder.reset()
        self._say(HELLO, self._opening)

    def cut(self) -> None:
        """Send nothing until the channel is opened again."""
        self.is_open = False
        self._output = []

    def received(self, data: bytes) -> list[Message]:
        """Return the messages that *data* completes.

        :raises LinkError: the guest has broken the rules.
        """
        if not self.is_open:
            self._note_stale(len(data))
        found = (self._heard(piece) for piece in self._decoder.feed(data))
        return [message for message in found if message is not None]

    def _note_stale(self, count: int) -> None:
        """Bound what a guest says before its ``WELCOME``: it may not have noticed a cut yet."""
        self._stale += count
        if self._stale > 2 * (self._theirs.bytes + self._decoder_slack):
            raise LinkError("the guest says much, and no welcome")

    @property
    def _decoder_slack(self) -> int:
        return 2 * self._theirs.payload + OVERHEAD * self._theirs.messages

    def _heard(self, piece: bytes) -> Message | None:
        try:
            frame = _decoded(piece)
        except LinkError:
            if self.is_open:
                raise
            return None  # it was cut
        if frame.kind == WELCOME:
            self._welcomed(frame)
            return None
        return self._open_heard(frame) if self.is_open else None

    def _welcomed(self, frame: _Frame) -> None:
        if (frame.payload, frame.connection) == (self._session, self._opening):
            self._outgoing.rewind(frame, by_cookie=True)
            self.is_open = True

    def _open_heard(self, frame: _Frame) -> Message | None:
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

    def _check(self, frame: _Frame) -> None:
        if frame.kind not in _MESSAGES or frame.number != self._received:
            raise LinkError("the guest's messages are out of order")
        if len(frame.payload) > self._theirs.payload:
            raise LinkError("a message of the guest is too long")
        too_many = len(self._sizes) >= self._theirs.messages
        if too_many or sum(self._sizes) + len(frame.payload) > self._theirs.bytes:
            raise LinkError("the guest sends more than it may")

    def _acknowledge(self) -> None:
        """Acknowledge in good time: even that counts, for a guest that does not read."""
        due = self._consumed - self._acknowledged
        used = sum(size for size, _ in zip(self._sizes, range(due)))
        if 4 * due < self._theirs.messages and 4 * used < self._theirs.bytes:
            return
        self._outgoing.waiting.append(Message(NOTHING, 0))
        if self._outgoing.next() is not None:
            self._send_next()
        else:
            self._outgoing.drop()


class GuestLink(_Link):
    """The guest's end, which answers.

    What does not fit is dropped: the channel was cut, and the master's end opens it again.
    """

    def __init__(self, session: str) -> None:
        super().__init__(session, TO_MASTER, TO_GUEST)
        self._cookies: deque[int] = deque()  # of what was received and not consumed
        self.openings = 0
        """How often the master's end has said ``HELLO``."""

    def received(self, data: bytes) -> list[Message]:
        """Return the messages that *data* completes."""
        try:
            pieces = self._decoder.feed(data)
        except LinkError:
            return []
        found = (self._heard(piece) for piece in pieces)
        return [message for message in found if message is not None]

    def _heard(self, piece: bytes) -> Message | None:
        try:
            frame = _decoded(piece)
            return self._obey(frame)
        except LinkError:
            return None

    def _obey(self, frame: _Frame) -> Message | None:
        if frame.kind == HELLO:
            if frame.payload == self._session:
                self._outgoing.rewind(frame, by_cookie=False)
                self._say(WELCOME, frame.connection)
                self.is_open = True
                self.openings += 1
            return None
        self._outgoing.acknowledge(frame.acknowledged, 0, by_cookie=False)
        if frame.kind not in _MESSAGES or frame.number != self._received:
            return None
        self._cookies.append(frame.cookie)
        return self._take(frame)

    def consumed(self) -> None:
        """Note that this end has done with the oldest message that it has not noted yet."""
        super().consumed()
        self._cookie = self._cookies.popleft()

    def _cookie_of_consumed(self) -> int:
        return self._cookie

    @property
    def owes(self) -> bool:
        """Whether something is to be acknowledged that nothing else has acknowledged yet."""
        return self._consumed > self._acknowledged

    def acknowledge(self) -> None:
        """Acknowledge that now: nothing has been sent for a while that would have done so."""
        if self.is_open and self.owes:
            self._write(ACK)

    def _acknowledge(self) -> None:
        """Acknowledge before the master's end has to wait for it."""
        if 2 * (self._consumed - self._acknowledged) >= self._theirs.messages or self._is_half():
            self._write(ACK)

    def _is_half(self) -> bool:
        due = self._consumed - self._acknowledged
        return 2 * sum(size for size, _ in zip(self._sizes, range(due))) >= self._theirs.bytes // 2
