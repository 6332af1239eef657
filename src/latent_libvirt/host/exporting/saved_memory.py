# SPDX-License-Identifier: GPL-2.0-only
"""Memory that libvirt has saved, made fit to be given away.

libvirt writes a header before the memory, with the XML of the domain. In an export that is the XML
without secrets. Passwords of workers are overwritten wherever they are in the memory. They begin in
a way that nothing else does. Nothing moves: a saved memory has fixed places.

QEMU writes the guest's pages one after the other, each behind a separate header. So a password
that crosses the end of a page is in two places, and only the first one begins in that way. What is
in the second one is known from other copies of the password, or from the page that follows.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from latent_libvirt.errors import ConfigurationError, LatentLibvirtError
from latent_libvirt.guest.protocol import PASSWORD_PREFIX, new_password

if TYPE_CHECKING:
    import mmap

_HEADER: Final = struct.Struct("<16s5I56x")  # virQEMUSaveHeader (qemu_saveimage.h)
_MAGIC: Final = b"LibvirtQemudSave"
_LARGEST_XML: Final = 4 << 20
_LONGEST: Final = 96
"""Bytes that a password may have with the header of a page in it, and more."""

_PASSWORD: Final = re.compile(re.escape(PASSWORD_PREFIX.encode()) + rb"[A-Za-z0-9_-]{1,64}")
_LENGTH: Final = len(new_password())
_OF_A_PASSWORD: Final = re.compile(rb"[A-Za-z0-9_-]+")

_PAGE_HEADER: Final = 8
_NEXT_PAGE: Final = re.compile(rb"\0[\x00-\xff]{6}\x28")
"""The address of a page, in its lower bits that it is whole and of the RAM of the one before
(QEMU, ``migration/ram.c``)."""

_END: Final = 8
"""Bytes at the end of a password by which the rest of one is found. What is shorter tells nothing:
a password has 256 bits."""

MOST: Final = 100
"""Different passwords that a memory may have: the ends of each are looked for in all of it. A VM
has few, and a program in it can write any number of what begins like one."""

_READABLE: Final = {0: "raw", 6: "sparse"}
"""Formats in which pages are as the guest has them (libvirt, ``qemu_saveimage.h``)."""


def portable(
    pieces: Iterable[bytes], rewrite: Callable[[str], str], found: set[bytes]
) -> Iterator[bytes]:
    """Yield a saved memory as it goes into an export, but for what :func:`overwrite_ends` does.

    :param rewrite: returns the XML that takes the place of the domain's.
    :param found: gets the passwords that are in the memory.
    :raises LatentLibvirtError: if it is no saved memory, or compressed, or has too many passwords.
    """
    yield from without_passwords(with_xml(iter(pieces), rewrite, readable=True), found)


def with_xml(
    pieces: Iterator[bytes], rewrite: Callable[[str], str], *, readable: bool
) -> Iterator[bytes]:
    """Yield a saved memory with another XML in its header.

    :param rewrite: returns the XML that takes the place of the domain's.
    :param readable: whether the pages are to be as the guest has them.
    :raises LatentLibvirtError: if it is no saved memory, or compressed and to be readable.
    """
    data = b""
    while len(data) < _HEADER.size:
        data += _next(pieces)
    magic, _version, length, _running, form, cookie = _HEADER.unpack(data[: _HEADER.size])
    # The cookie is in what length counts. A file that somebody has changed may say otherwise.
    if magic != _MAGIC or not 0 < length <= _LARGEST_XML or cookie > length:
        raise _not_saved()
    if readable and form not in _READABLE:
        raise _compressed()
    end = _HEADER.size + length
    while len(data) < end:
        data += _next(pieces)
    space = cookie or length
    xml = data[_HEADER.size : _HEADER.size + space].split(b"\0", 1)[0]
    new = rewrite(_decoded(xml)).encode()
    if len(new) >= space:
        raise LatentLibvirtError("the new XML of a saved memory is longer than the old one")
    yield data[: _HEADER.size] + new.ljust(space, b"\0") + data[_HEADER.size + space : end]
    yield data[end:]
    yield from pieces


def _next(pieces: Iterator[bytes]) -> bytes:
    piece = next(pieces, b"")
    if not piece:
        raise _not_saved()
    return piece


def _decoded(xml: bytes) -> str:
    try:
        return xml.decode()
    except UnicodeDecodeError as error:
        raise _not_saved() from error


def _not_saved() -> LatentLibvirtError:
    return LatentLibvirtError("what is frozen is no memory that libvirt has saved to its end")


def _compressed() -> LatentLibvirtError:
    return ConfigurationError(
        "the host saves memory in a compressed form, in which no password can be found",
        resolution="Set save_image_format to raw in its qemu.conf, restart its libvirtd, thaw the "
        "VM and freeze it again.",
    )


def _too_many() -> LatentLibvirtError:
    return LatentLibvirtError(
        f"the memory of the VM has over {MOST} different passwords of workers",
        details="A program in the VM has made most of them up. Nobody can tell which are real, so "
        "none of the memory is given away.",
        resolution="Thaw the VM, end that program, and freeze the VM again.",
    )


def without_passwords(pieces: Iterable[bytes], found: set[bytes]) -> Iterator[bytes]:
    """Yield the same, with each password overwritten, also one that is in two pieces.

    :param found: gets the passwords.
    :raises LatentLibvirtError: if there are more than :data:`MOST`.
    """
    rest = b""
    for piece in pieces:
        rest += piece
        done, rest = _overwrite(rest, max(0, len(rest) - _LONGEST), found)
        yield done
    yield _overwrite(rest, len(rest), found)[0]


def _overwrite(data: bytes, limit: int, found: set[bytes]) -> tuple[bytes, bytes]:
    """Return the beginning of *data* without passwords, and what is to be looked at again."""
    done, at = [], 0
    for match in _PASSWORD.finditer(data):
        if match.start() >= limit:
            break
        found.update(_whole(match, data))
        if len(found) > MOST:
            raise _too_many()
        done += [data[at : match.start()], b"x" * len(match[0])]
        at = match.end()
    limit = max(limit, at)
    return b"".join([*done, data[at:limit]]), data[limit:]


def _whole(match: re.Match[bytes], data: bytes) -> Iterator[bytes]:
    """Yield the whole password that *match* is the beginning of, if that is known."""
    lacks = _LENGTH - len(match[0])
    if lacks <= 0:
        yield match[0][:_LENGTH]
        return
    page = match.end() + _PAGE_HEADER
    rest = data[page : page + lacks]
    is_next = _NEXT_PAGE.fullmatch(data, match.end(), page)
    if is_next and len(rest) == lacks and _OF_A_PASSWORD.fullmatch(rest):
        yield match[0] + rest


def overwrite_ends(memory: mmap.mmap, start: int, end: int, passwords: Iterable[bytes]) -> None:
    """Overwrite what is left of *passwords* between two places of a file.

    That is their ends at the beginnings of pages, and copies without their beginning.
    """
    for password in passwords:
        at = memory.find(password[-_END:], start, end)
        while at >= 0:
            stop = at + _END
            length = _length_of_end(memory, start, stop, password)
            memory[stop - length : stop] = b"x" * length
            at = memory.find(password[-_END:], stop, end)


def _length_of_end(memory: mmap.mmap, start: int, stop: int, password: bytes) -> int:
    """Return how many bytes before *stop* are the last ones of *password*, of which some are."""
    length, longest = _END, min(stop - start, len(password))
    while length < longest and memory[stop - length - 1] == password[-length - 1]:
        length += 1
    return length
