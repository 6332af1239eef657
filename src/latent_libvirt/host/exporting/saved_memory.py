# SPDX-License-Identifier: GPL-2.0-only
"""Memory that libvirt has saved, made fit to be given away.

libvirt writes a header before the memory, with the XML of the domain. In an export that is the XML
without secrets. Passwords of workers are overwritten wherever they are in the memory. They begin in
a way that nothing else does. Nothing moves: a saved memory has fixed places.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.guest.protocol import PASSWORD_PREFIX

_HEADER: Final = struct.Struct("<16s5I56x")  # virQEMUSaveHeader (qemu_saveimage.h)
_MAGIC: Final = b"LibvirtQemudSave"
_LARGEST_XML: Final = 4 << 20
_LONGEST: Final = 96
"""Bytes that a password may have, and more."""

_PASSWORD: Final = re.compile(re.escape(PASSWORD_PREFIX.encode()) + rb"[A-Za-z0-9_-]{1,64}")


def portable(pieces: Iterable[bytes], rewrite: Callable[[str], str]) -> Iterator[bytes]:
    """Yield a saved memory as it goes into an export.

    :param rewrite: returns the XML that takes the place of the domain's.
    :raises LatentLibvirtError: if it is no saved memory.
    """
    yield from without_passwords(_with_xml(iter(pieces), rewrite))


def _with_xml(pieces: Iterator[bytes], rewrite: Callable[[str], str]) -> Iterator[bytes]:
    data = b""
    while len(data) < _HEADER.size:
        data += _next(pieces)
    magic, _version, length, _running, _compressed, cookie = _HEADER.unpack(data[: _HEADER.size])
    if magic != _MAGIC or not 0 < length <= _LARGEST_XML:
        raise _not_saved()
    end = _HEADER.size + length
    while len(data) < end:
        data += _next(pieces)
    space = cookie or length
    xml = data[_HEADER.size : _HEADER.size + space].split(b"\0", 1)[0]
    new = rewrite(xml.decode()).encode()
    if len(new) >= space:
        raise LatentLibvirtError("the XML of an export is longer than what it takes the place of")
    yield data[: _HEADER.size] + new.ljust(space, b"\0") + data[_HEADER.size + space : end]
    yield data[end:]
    yield from pieces


def _next(pieces: Iterator[bytes]) -> bytes:
    piece = next(pieces, b"")
    if not piece:
        raise _not_saved()
    return piece


def _not_saved() -> LatentLibvirtError:
    return LatentLibvirtError("what is frozen is no memory that libvirt has saved to its end")


def without_passwords(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same, with each password overwritten, also one that is in two pieces."""
    rest = b""
    for piece in pieces:
        done, rest = _overwrite(rest + piece)
        yield done
    yield _PASSWORD.sub(_overwritten, rest)


def _overwrite(data: bytes) -> tuple[bytes, bytes]:
    """Return the beginning of *data* without passwords, and what is to be looked at again."""
    limit, done, at = max(0, len(data) - _LONGEST), [], 0
    for found in _PASSWORD.finditer(data):
        if found.start() >= limit:
            break
        done += [data[at : found.start()], _overwritten(found)]
        at = found.end()
    limit = max(limit, at)
    return b"".join([*done, data[at:limit]]), data[limit:]


def _overwritten(found: re.Match[bytes]) -> bytes:
    return b"x" * len(found[0])
