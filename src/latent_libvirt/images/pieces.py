# SPDX-License-Identifier: GPL-2.0-only
"""Pieces of a file: its data, and its holes, which need not be read or sent."""

from __future__ import annotations

import errno
import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

_PIECE_BYTES: Final = 1 << 20
_ZEROS: Final = bytes(_PIECE_BYTES)


@dataclass(frozen=True)
class Hole:
    """Zeros.

    :param size: how many bytes.
    """

    size: int

    def zeros(self) -> Iterator[bytes]:
        """Yield the zeros, piece by piece."""
        for at in range(0, self.size, _PIECE_BYTES):
            yield _ZEROS[: self.size - at]


Piece = bytes | Hole
"""What comes next in a file."""


def pieces(path: Path, start: int = 0) -> Iterator[Piece]:
    """Yield what a file contains from the byte *start* on.

    A mebibyte of zeros that the file system has stored is a hole, too. Lets ``OSError`` pass.
    """
    with path.open("rb") as file:
        at, size = start, os.fstat(file.fileno()).st_size
        while at < size:
            data_at = _data_from(file, at, size)
            if data_at > at:
                yield Hole(data_at - at)
            at = yield from _data(file, data_at, _hole_from(file, data_at, size))


def borders_of_data(path: Path) -> Iterator[int]:
    """Yield where data begins and ends, as the file system knows it. Lets ``OSError`` pass."""
    with path.open("rb") as file:
        at, size = 0, os.fstat(file.fileno()).st_size
        while at < size:
            data_at = _data_from(file, at, size)
            at = _hole_from(file, data_at, size)
            yield from (data_at, at)


def _data(file: BinaryIO, at: int, end: int) -> Generator[Piece, None, int]:
    """Yield what is between two places; return where that ended."""
    file.seek(at)
    while at < end:
        data = file.read(min(_PIECE_BYTES, end - at))
        if not data:  # it has become shorter
            break
        yield Hole(len(data)) if data == _ZEROS else data
        at += len(data)
    return max(at, end)


def _data_from(file: BinaryIO, at: int, size: int) -> int:
    """Return where the next data begins; *at* where the file system knows no holes."""
    try:
        return os.lseek(file.fileno(), at, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return size
        if error.errno != errno.EINVAL:
            raise
        return at


def _hole_from(file: BinaryIO, at: int, size: int) -> int:
    """Return where the next hole begins, which may be the end of the file."""
    try:
        return size if at >= size else os.lseek(file.fileno(), at, os.SEEK_HOLE)
    except OSError as error:
        if error.errno not in (errno.ENXIO, errno.EINVAL):
            raise
        return size
