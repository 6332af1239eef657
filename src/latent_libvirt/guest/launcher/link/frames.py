# SPDX-License-Identifier: GPL-2.0-only
"""Frames of a link, and the windows of its ends.

A frame is what stands between two flags (:data:`FLAG`), with a checksum. A flag in a frame is
escaped, as in HDLC: half of a frame that was cut never swallows the next one.
"""

from __future__ import annotations

import struct
import zlib
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
MESSAGES: Final = (OPEN, DATA, CLOSE, NOTHING, CREDIT)

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


class Frame(NamedTuple):
    """A frame: quick to make, for an emulated guest makes many."""

    kind: int
    connection: int
    number: int
    cookie: int
    acknowledged: int
    acknowledged_cookie: int
    payload: bytes = b""

    def encode(self, escaped_payload: bytes | None = None) -> bytes:
        """Return its bytes, flags included.

        :param escaped_payload: saves the time to escape it, which was done before.
        """
        if escaped_payload is None:
            escaped_payload = escaped(self.payload)
        header = _HEADER.pack(
            self.kind,
            self.connection,
            self.number,
            self.cookie,
            self.acknowledged,
            self.acknowledged_cookie,
        )
        checksum = _CHECKSUM.pack(zlib.crc32(self.payload, zlib.crc32(header)))
        return b"".join((FLAG, escaped(header), escaped_payload, escaped(checksum), FLAG))


def escaped(data: bytes) -> bytes:
    """Return *data* without a flag in it."""
    for plain, instead in _ESCAPED:
        data = data.replace(plain, instead)
    return data


def unescaped(data: bytes) -> bytes:
    """Return what :func:`escaped` was given."""
    if ESCAPE in data:
        for plain, instead in reversed(_ESCAPED):
            data = data.replace(instead, plain)
    return data


def decoded(piece: bytes) -> Frame:
    """Return the frame between two flags.

    :raises LinkError: it is none.
    """
    data = unescaped(piece)
    end = len(data) - _CHECKSUM.size
    checksum = zlib.crc32(memoryview(data)[:end]) if end >= _HEADER.size else -1
    if checksum < 0 or _CHECKSUM.unpack_from(data, end) != (checksum,):
        raise LinkError("what came through the channel is no frame")
    kind, connection, number, cookie, *done = _HEADER.unpack_from(data)
    payload = data[_HEADER.size : end]
    return Frame(kind, connection, number, cookie, done[0], done[1], payload)


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
