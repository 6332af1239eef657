# SPDX-License-Identifier: GPL-2.0-only
"""The bounds on files that guests send to their master, and read from it.

Buildbot 4.3 writes what comes until the disk is full, unless a step has a ``maxsize``; with the
disk go database, web and all builds. It unpacks uploaded folders on the reactor's thread, and with
Pythons that have no filters for archives (3.11.2) also to places outside of their folder. A guest
may ask for a file in one piece of any size. Here a piece has a bound, some of the disk stays free,
and an archive is unpacked in a thread and only to where it belongs. A few KB of one may be names of
GiB, millions of files, or files without end, which all have a bound.
"""

from __future__ import annotations

import bz2
import gzip
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path, PurePosixPath
from typing import Any, Final

from buildbot.process.remotetransfer import (
    DirectoryWriter,
    FileReader,
    FileWriter,
    StringFileWriter,
)
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.spread.pb import Error

KEPT_FREE: Final = 1024**3
"""Bytes of the master's disk that no upload takes."""

KEPT_FREE_FILES: Final = 10_000
"""Files for which that disk has room that no upload takes; some disks have no such number."""

MOST_FILES: Final = 1_000_000
"""Files, folders and links of one folder uploaded."""

MOST_BETWEEN: Final = 1024 * 1024
"""Bytes between two files of an archive: they are the name and the permissions of the next."""

MOST_AT_ONCE: Final = 640 * 1024
"""Bytes of one piece that a guest reads; more cannot be sent to it (``banana.SIZE_LIMIT``)."""

MOST_TEXT: Final = 50 * 1024 * 1024
"""Characters of a file that a step keeps in memory."""

_PERMISSIONS: Final = 0o755


class RefusedError(Error):
    """An upload that is not taken; the worker gets this error, and its step fails."""


def install() -> None:
    """Bound the transfers of this process, once."""
    if getattr(FileWriter, "_latent_libvirt", False):
        return
    FileWriter._latent_libvirt = True  # noqa: SLF001 - ours
    FileWriter.remote_write = _while_there_is_room(FileWriter.remote_write)
    StringFileWriter.remote_write = _while_it_is_short(StringFileWriter.remote_write)
    FileReader.remote_read = _in_pieces(FileReader.remote_read)
    DirectoryWriter.remote_unpack = _unpack


def _while_there_is_room(original: Any) -> Any:
    @wraps(original)
    def write(self: Any, data: Any) -> Any:
        refuse_if_full(Path(self.tmpname).parent, len(data))
        return original(self, data)

    return write


def _while_it_is_short(original: Any) -> Any:
    @wraps(original)
    def write(self: Any, data: Any) -> Any:
        if len(self.buffer) + len(data) > MOST_TEXT:
            raise RefusedError(f"a file that a step reads has more than {MOST_TEXT:,} bytes")
        return original(self, data)

    return write


def _in_pieces(original: Any) -> Any:
    @wraps(original)
    def read(self: Any, maxlength: Any) -> Any:
        if not isinstance(maxlength, int) or maxlength < 0:
            raise RefusedError("a file is read in pieces of some bytes")
        return original(self, min(maxlength, MOST_AT_ONCE))

    return read


def _unpack(writer: Any) -> Deferred[None]:
    """Unpack what has been uploaded, in a thread."""
    writer.remote_close()
    return deferToThread(unpack, writer.tarname, writer.destroot, writer.compress)


def unpack(archive: str, root: str, compress: str | None) -> None:
    """Unpack *archive* below *root*, and remove it; blocks.

    :raises RefusedError: at the first thing in it that belongs elsewhere, or has no room.
    """
    opened: Any = {"bz2": bz2.open, "gz": gzip.open}.get(compress or "", open)
    try:
        Path(root).mkdir(parents=True, exist_ok=True)
        with opened(archive, "rb") as stream:
            _unpack_from(_Source(stream), Path(root))
    except RefusedError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever an archive of a stranger leads to
        raise RefusedError(f"what was uploaded cannot be unpacked: {error}") from None
    finally:
        Path(archive).unlink()


class _Source:
    """An archive, of which not much is read until its next file is known."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._left = float(MOST_BETWEEN)

    def read(self, size: int) -> bytes:
        """Return the next bytes.

        :raises RefusedError: there is much, and no file.
        """
        data: bytes = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise RefusedError(
                f"there are {MOST_BETWEEN:,} bytes before the next file of what was uploaded"
            )
        return data

    @contextmanager
    def of_a_file(self) -> Iterator[None]:
        """Let a file be read, which is as large as it says."""
        self._left = float("inf")
        yield
        self._left = MOST_BETWEEN


def _unpack_from(source: Any, root: Path) -> None:
    members: Any
    with tarfile.open(fileobj=source, mode="r|") as members:
        for number, member in enumerate(iter(members.next, None), start=1):
            members.members.clear()  # it would keep all of them
            if number > MOST_FILES:
                raise RefusedError(f"there are more than {MOST_FILES:,} files in what was uploaded")
            _check(member, root)
            refuse_if_full(root, member.size)
            with source.of_a_file():
                _extract(members, member, str(root))


def _extract(members: tarfile.TarFile, member: tarfile.TarInfo, root: str) -> None:
    target = Path(root, member.name)
    if target.is_symlink():
        target.unlink()  # it would be followed
    if hasattr(tarfile, "data_filter"):
        members.extract(member, root, filter="data")
    else:
        member.mode &= _PERMISSIONS
        member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
        members.extract(member, root)


def _check(member: tarfile.TarInfo, root: Path) -> None:
    """Refuse what would be written, or would lead, out of *root*."""
    name = PurePosixPath(member.name)
    places = [name]
    if member.issym():
        places.append(name.parent / member.linkname)
    elif member.islnk():
        places.append(PurePosixPath(member.linkname))
    elif not (member.isfile() or member.isdir()):
        raise RefusedError(f"{member.name!r} is no file, folder or link")
    for place in places:
        if not _stays_inside(place):
            raise RefusedError(f"{member.name!r} is, or leads, out of the folder uploaded")
    if member.islnk() and not (root / member.linkname).exists():
        raise RefusedError(f"{member.name!r} is a link to a file that is not there")
    followed = places if member.islnk() else [name]
    if any((root / parent).is_symlink() for place in followed for parent in place.parents):
        raise RefusedError(f"{member.name!r} is in a folder that is a link")


def _stays_inside(place: PurePosixPath) -> bool:
    depth = 0
    for part in place.parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            return False
    return not place.is_absolute()


def refuse_if_full(folder: Path, size: int) -> None:
    """Refuse *size* bytes that would leave too little room where *folder* is.

    :raises RefusedError: in that case.
    """
    disk = os.statvfs(folder)
    if disk.f_bavail * disk.f_frsize - size < KEPT_FREE:
        raise RefusedError(
            f"no room for an upload: {KEPT_FREE / 1024**3:g} GiB of the disk of {folder} have to "
            "stay free on the master"
        )
    if disk.f_files and disk.f_favail < KEPT_FREE_FILES:
        raise RefusedError(
            f"no room for an upload: {KEPT_FREE_FILES:,} files have to fit on the disk of {folder} "
            "on the master"
        )
