# SPDX-License-Identifier: GPL-2.0-only
"""An ext4 file system in which no time stamp shows when it was made.

``mke2fs -d`` copies the times of the files that it is given, among them the change times, which
nobody can set; e2fsprogs before 1.47.1 has no remedy. So they are set here, in the finished file
system, as the kernel documents its layout ("ext4 Data Structures and Algorithms").
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from latent_libvirt.images.programs import BuildError

_SUPERBLOCK: Final = 1024
_MAGIC: Final = 0xEF53
_INCOMPAT_64BIT: Final = 0x80
_RO_COMPAT_METADATA_CSUM: Final = 0x400

# Offsets in an inode.
_LINKS: Final = 26
_TIMES: Final = (8, 12, 144)  # of access, of change, of creation
_TIMES_BELOW_SECONDS: Final = (140, 132, 148)


def set_times(image: Path, *, offset: int, epoch: int) -> None:
    """Set the access, change and creation times of all inodes to *epoch*.

    :param offset: bytes from the beginning of *image* to the file system.
    :raises BuildError: it is no ext4, or has checksums that would no longer be right.
    """
    with image.open("r+b") as file:
        system = _Ext4(file, offset)
        for table in system.inode_tables():
            system.rewrite(table, epoch)


class _Ext4:
    """As much of a file system as is needed to find its inodes."""

    def __init__(self, file: BinaryIO, offset: int) -> None:
        self._file = file
        self._offset = offset
        block = self._read(_SUPERBLOCK, 1024)
        (magic,) = struct.unpack_from("<H", block, 56)
        incompatible, read_only = struct.unpack_from("<II", block, 96)
        if magic != _MAGIC or read_only & _RO_COMPAT_METADATA_CSUM:
            raise BuildError("the root file system is not ext4 without metadata checksums")
        (self._inodes,) = struct.unpack_from("<I", block, 0)
        (log_block_size,) = struct.unpack_from("<I", block, 24)
        (self._inodes_per_group,) = struct.unpack_from("<I", block, 40)
        (self._inode_size,) = struct.unpack_from("<H", block, 88)
        (descriptor_size,) = struct.unpack_from("<H", block, 254)
        self._descriptor_size = descriptor_size if incompatible & _INCOMPAT_64BIT else 32
        self._block_size = 1024 << log_block_size

    def inode_tables(self) -> Iterator[int]:
        """Yield where the table of each group begins, in bytes."""
        first = (_SUPERBLOCK // self._block_size + 1) * self._block_size
        for group in range(self._inodes // self._inodes_per_group):
            descriptor = self._read(first + group * self._descriptor_size, self._descriptor_size)
            (low,) = struct.unpack_from("<I", descriptor, 8)
            high = struct.unpack_from("<I", descriptor, 40)[0] if len(descriptor) > 32 else 0  # noqa: PLR2004
            yield (high << 32 | low) * self._block_size

    def rewrite(self, table: int, epoch: int) -> None:
        """Set the times of all inodes that are in use in the table at *table*."""
        inodes = bytearray(self._read(table, self._inodes_per_group * self._inode_size))
        if not any(inodes):
            return
        for start in range(0, len(inodes), self._inode_size):
            if any(inodes[start + _LINKS : start + _LINKS + 2]):
                _set_times(inodes, start, epoch)
        self._file.seek(self._offset + table)
        self._file.write(inodes)

    def _read(self, position: int, size: int) -> bytes:
        self._file.seek(self._offset + position)
        return self._file.read(size)


def _set_times(inodes: bytearray, start: int, epoch: int) -> None:
    for seconds, below in zip(_TIMES, _TIMES_BELOW_SECONDS, strict=True):
        struct.pack_into("<I", inodes, start + seconds, epoch)
        struct.pack_into("<I", inodes, start + below, 0)
