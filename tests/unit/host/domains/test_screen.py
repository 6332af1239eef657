# SPDX-License-Identifier: GPL-2.0-only
"""Screens as PNG: what a guest decides is bounded, and the pixels stay what they are."""

from __future__ import annotations

import random
import struct
import zlib

import pytest

from latent_libvirt.errors import GuestError
from latent_libvirt.host.domains import screen


def ppm(width: int, height: int, pixels: bytes = b"") -> bytes:
    """Return a picture as QEMU writes it; black if no pixels are given."""
    return b"P6\n%d %d\n255\n" % (width, height) + (pixels or bytes(3 * width * height))


def decoded(png: bytes) -> tuple[int, int, bytes]:
    """Return the width, the height and the pixels of a PNG without filters."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at, parts = 8, {}
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        kind, content = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", png, at + 8 + length)[0] == zlib.crc32(kind + content)
        parts[kind] = content
        at += 12 + length
    assert list(parts) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, *rest = struct.unpack(">IIBBBBB", parts[b"IHDR"])
    assert rest == [8, 2, 0, 0, 0]
    lines = zlib.decompress(parts[b"IDAT"])
    size = 3 * width + 1
    rows = [lines[at : at + size] for at in range(0, len(lines), size)]
    assert {row[0] for row in rows} == {0}
    return width, height, b"".join(row[1:] for row in rows)


def test_pixels_stay_what_they_are() -> None:
    pixels = bytes(range(3 * 4 * 2))

    assert decoded(screen.png(ppm(4, 2, pixels))) == (4, 2, pixels)


def test_what_does_not_fit_is_halved_until_it_does() -> None:
    noise = random.Random(1).randbytes(3 * 1281 * 961)

    png = screen.png(ppm(1281, 961, noise))

    width, height, pixels = decoded(png)
    assert len(png) <= screen.MOST
    assert (width, height) == (641, 481)
    assert pixels[:6] == noise[:3] + noise[6:9]
    assert pixels[3 * 641 :][:3] == noise[2 * 3 * 1281 :][:3], "every second line is kept"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "neither PPM nor PNG"),
        (b"P5\n1 1\n255\n\0", "neither PPM nor PNG"),
        (b"P6\n999999 1\n255\n", "neither PPM nor PNG"),
        (b"P6\n0 1\n255\n", "0 x 1 pixels"),
        (b"P6\n99999 99999\n255\n", "99999 x 99999 pixels"),
        (ppm(4, 2)[:-1], "breaks off"),
        (ppm(4, 2) + b"\0", "breaks off"),
        (b"\x89PNG\r\n\x1a\n", "breaks off"),
        (
            b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + struct.pack(">II", 65536, 65536),
            "65536 x 65536 pixels",
        ),
    ],
)
def test_what_is_no_picture_or_too_large_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(GuestError, match=why):
        screen.png(data)


def test_a_png_of_qemu_is_taken_as_it_is() -> None:
    png = screen.png(ppm(4, 2))

    assert screen.png(png) == png


class Stream:
    """A stream of libvirt that does not end."""

    was_aborted = False

    def recv(self, count: int) -> bytes:
        return bytes(count)

    def abort(self) -> None:
        self.was_aborted = True


def test_a_screen_without_end_is_not_read_to_its_end() -> None:
    stream = Stream()

    class Domain:
        def connect(self) -> Domain:
            return self

        def newStream(self, _flags: int) -> Stream:  # noqa: N802
            return stream

        def screenshot(self, _stream: Stream, _screen: int) -> None: ...

    with pytest.raises(GuestError, match="pixels"):
        screen.picture(Domain())

    assert stream.was_aborted
