# SPDX-License-Identifier: GPL-2.0-only
"""Screens of VMs, as PNG: libvirt's screenshots, with bounds on all that a guest decides.

QEMU of Debian 12 and 13 writes PPM, in which a pixel is three bytes. A guest chooses the width, the
height and the pixels, and nothing else. So they are packed here with zlib. No library that decodes
images gets what a guest has drawn.
"""

from __future__ import annotations

import re
import struct
import zlib
from typing import TYPE_CHECKING, Final

from latent_libvirt.errors import GuestError

if TYPE_CHECKING:
    import libvirt

MOST_PIXELS: Final = 4096 * 2304
"""Pixels of a screen. A larger one is not shown."""

MOST: Final = 1024 * 1024
"""Bytes of a picture. One that needs more is halved until it fits."""

_RGB: Final = 3
_MOST_RAW: Final = _RGB * MOST_PIXELS + 64
_HEAD: Final = re.compile(rb"P6\s+([0-9]{1,5})\s+([0-9]{1,5})\s+255\s")
_IHDR: Final = struct.Struct(">16xII")
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"


def picture(domain: libvirt.virDomain) -> bytes:
    """Return the first screen of *domain*. Blocks.

    :raises GuestError: if it has none, or one that is too large.
    :raises libvirt.libvirtError: if libvirt refuses.
    """
    stream = domain.connect().newStream(0)
    try:
        domain.screenshot(stream, 0)
        data = _read(stream)
        stream.finish()
    except BaseException:
        stream.abort()
        raise
    return png(data)


def _read(stream: libvirt.virStream) -> bytes:
    data = bytearray()
    while piece := stream.recv(256 * 1024):
        data += piece
        if len(data) > _MOST_RAW:
            raise GuestError(f"the screen has more than {MOST_PIXELS} pixels")
    return bytes(data)


def png(data: bytes) -> bytes:
    """Return the picture in *data*, PPM or PNG, as PNG of a bounded size.

    :raises GuestError: if that is none, or too large.
    """
    if data.startswith(_SIGNATURE):
        return _checked(data)
    head = _HEAD.match(data)
    if head is None:
        raise GuestError("libvirt's screenshot is neither PPM nor PNG")
    width, height = int(head[1]), int(head[2])
    pixels = memoryview(data)[head.end() :]
    if not 0 < width * height <= MOST_PIXELS:
        raise GuestError(f"the screen has {width} x {height} pixels, and may have {MOST_PIXELS}")
    if len(pixels) != _RGB * width * height:
        raise GuestError("libvirt's screenshot breaks off")
    rows = [bytes(pixels[at : at + _RGB * width]) for at in range(0, len(pixels), _RGB * width)]
    return _fitting(rows)


def _checked(data: bytes) -> bytes:
    """Return a PNG of QEMU's, whose head and size are within bounds."""
    if len(data) < _IHDR.size or data[12:16] != b"IHDR":
        raise GuestError("libvirt's screenshot breaks off")
    width, height = _IHDR.unpack_from(data)
    if not 0 < width * height <= MOST_PIXELS or len(data) > MOST:
        raise GuestError(f"the screen has {width} x {height} pixels in {len(data)} bytes: too much")
    return data


def _fitting(rows: list[bytes]) -> bytes:
    while len(made := _encoded(rows)) > MOST:
        rows = [_halved(row) for row in rows[::2]]
    return made


def _halved(row: bytes) -> bytes:
    """Return every second pixel of *row*."""
    kept = bytearray(_RGB * len(row[:: 2 * _RGB]))
    for colour in range(_RGB):
        kept[colour::_RGB] = row[colour :: 2 * _RGB]
    return bytes(kept)


def _encoded(rows: list[bytes]) -> bytes:
    """Return *rows* of red, green and blue as a PNG without filters (see its specification)."""
    head = struct.pack(">IIBBBBB", len(rows[0]) // _RGB, len(rows), 8, 2, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows), 6)
    parts = ((b"IHDR", head), (b"IDAT", body), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(*part) for part in parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)
