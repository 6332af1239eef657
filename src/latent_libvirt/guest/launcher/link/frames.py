# SPDX-License-Identifier: GPL-2.0-only
"""Frames of a link, and the windows of its ends.

A frame says how long its payload is, and ends with the cookie of its beginning. So one of which
bytes are missing is found out without a look at each byte, which costs an emulated guest much. What
an end says first after a channel was opened follows a mark. Half of a frame that was cut never
swallows the next one.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final, NamedTuple

VERSION: Final = 3
"""Version of the link: both ends speak the same one, or none."""

SESSION_DIGITS: Final = 16
"""Hexadecimal digits of a session: one VM's life as one worker."""

_MARK: Final = b"~link:"

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

_HEADER: Final = struct.Struct(">BIQIQII")
# kind, connection, number, cookie, acknowledged, its cookie, bytes of the payload
_COOKIE: Final = slice(13, 17)
_CHECKSUM: Final = struct.Struct(">I")
_BEGINNING: Final = _HEADER.size + _CHECKSUM.size
_END: Final = 4
OVERHEAD: Final = _BEGINNING + _END
"""Bytes that a frame has besides its payload."""

MOST_REDUNDANT: Final = 64
"""Acknowledgements that say nothing new which a guest may send after each opening."""


class LinkError(Exception):
    """The other end has broken the rules of the link."""


@dataclass(frozen=True)
class Window:
    """What may be sent without an acknowledgement.

    :param bytes: of the frames.
    :param payload: bytes of one message.
    """

    bytes: int
    messages: int
    payload: int


TO_GUEST: Final = Window(48 * 1024, 8, 22 * 1024)
"""Towards a guest. What one that never reads is sent fits into the sockets and queues on the way,
and leaves libvirtd no unfinished request. With five of them, libvirtd reads no more of a
connection. 80 messages of 64 bytes, or 9 of 16 KiB, were measured to do that. A
block of 16 KiB, Buildbot's default, fits into one message."""

TO_MASTER: Final = Window(256 * 1024, 64, 32 * 1024 - OVERHEAD)
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

    def encode(self) -> bytes:
        """Return its bytes."""
        return encoded(self[:-1], self.payload)


def encoded(fields: tuple[int, ...], payload: bytes) -> bytes:
    """Return the bytes of a frame. *fields* are those of :class:`Frame` before its payload."""
    header = _HEADER.pack(*fields, len(payload))
    return b"".join((header, _CHECKSUM.pack(zlib.crc32(header)), payload, header[_COOKIE]))


def first_frame(data: bytes, at: int, *, most: int) -> tuple[Frame, int] | None:
    """Return the frame that begins at *at*, and where the next one does; ``None`` if it is cut.

    :param most: bytes of a payload; what is longer is no frame.
    :raises LinkError: it is none.
    """
    body = at + _BEGINNING
    if len(data) < body:
        return None
    header = data[at : at + _HEADER.size]
    if _CHECKSUM.unpack_from(data, body - _CHECKSUM.size) != (zlib.crc32(header),):
        raise LinkError("what came through the channel is no frame")
    kind, connection, number, cookie, done, its_cookie, size = _HEADER.unpack(header)
    if size > most:
        raise LinkError("a message is too long")
    end = body + size
    if len(data) < end + _END:
        return None
    if data[end : end + _END] != header[_COOKIE]:
        raise LinkError("a frame is not complete")
    frame = Frame(kind, connection, number, cookie, done, its_cookie, data[body:end])
    return frame, end + _END


def mark_of(session: bytes) -> bytes:
    """Return what stands before the first frame after an opening, and nowhere else."""
    return _MARK + session
