# SPDX-License-Identifier: GPL-2.0-only
"""Headers of qcow2 disks, which name the file that a disk is based on by its path on the host."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from latent_libvirt.errors import HostError

_HEADER: Final = struct.Struct(">4sIQII")  # QEMU, docs/interop/qcow2.txt
_MAGIC: Final = b"QFI\xfb"
_LARGEST_CLUSTER: Final = 2 << 20
_LONGEST_NAME: Final = 1023


def based_on(pieces: Iterator[bytes], path: str) -> Iterator[bytes]:
    """Yield a qcow2 disk that is based on *path*, and not on what it was based on.

    :raises HostError: if it is no qcow2 disk that is based on another one, or the path is too long.
    """
    data = b""
    while len(data) < _LARGEST_CLUSTER and (piece := next(pieces, b"")):
        data += piece
    yield _with_name(data, path.encode())
    yield from pieces


def _with_name(data: bytes, name: bytes) -> bytes:
    """Return the beginning of a disk with another name in the place of the one that it has.

    QEMU writes the name behind all else in the first cluster.
    """
    if len(data) < _HEADER.size:
        raise HostError("a disk of the VM is no qcow2 disk")
    magic, _version, at, _length, bits = _HEADER.unpack_from(data)
    if magic != _MAGIC or not _HEADER.size <= at < len(data) or bits > 21:  # noqa: PLR2004
        raise HostError("a disk of the VM is no qcow2 disk that is based on another one")
    end = 1 << bits
    if len(name) > min(_LONGEST_NAME, end - at):
        raise HostError(f"{name.decode()} is too long for the path that a disk is based on")
    new = bytearray(data)
    new[at:end] = name.ljust(end - at, b"\0")
    struct.pack_into(">I", new, 16, len(name))
    return bytes(new)
