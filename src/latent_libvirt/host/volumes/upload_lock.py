# SPDX-License-Identifier: GPL-2.0-only
"""The right to upload one image to one storage pool, held by one process at a time.

libvirt lets one client create a volume of a name, whichever process or machine it runs on. So the
lock is a volume. Its holder writes a new count into it every few seconds. A lock that stays the
same for :data:`STALE_AFTER` seconds belongs to a process that has died, and is taken over.

Two who take the same dead lock over in the same moment may both hold one for an instant. The first
then sees with :meth:`UploadLock.is_held` that it has lost it. All functions block, and let
libvirt's own errors pass.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import libvirt

from latent_libvirt.host.volumes import storage
from latent_libvirt.host.volumes.transfer import (
    NewVolume,
    volume_called,
)

STALE_AFTER: Final = 60.0
"""Seconds. A megabyte over a slow line comes between two counts of a living holder."""

_COUNT_EVERY: Final = 3.0
_LOOK_EVERY: Final = 1.0
_LOOK_AGAIN: Final = 0.05
_READ_WITHIN: Final = 10.0
_BYTES: Final = 64


class UploadLock:
    """A lock that :func:`take` has taken.

    :param name: of its volume.
    """

    def __init__(self, pool: libvirt.virStoragePool, name: str) -> None:
        self._pool = pool
        self._name = name
        self._token = secrets.token_hex(16)
        self._count = 0
        self._counted_at = time.monotonic()

    def keep(self) -> None:
        """Show that the holder is alive; to be called often."""
        if time.monotonic() - self._counted_at >= _COUNT_EVERY and self.is_held():
            self._count += 1
            self.write()

    def write(self) -> None:
        """Write whose the lock is, and the count."""
        _soon(self._write)
        self._counted_at = time.monotonic()

    def _write(self) -> None:
        volume = self._pool.storageVolLookupByName(self._name)
        stream = volume.connect().newStream(0)
        volume.upload(stream, 0, _BYTES, 0)
        stream.send(f"{self._token} {self._count}\n".encode().ljust(_BYTES))
        stream.finish()

    def is_held(self) -> bool:
        """Whether nobody has taken it over."""
        return (_content(self._pool, self._name) or b"").startswith(self._token.encode())

    def release(self) -> None:
        """Give it back, unless somebody has taken it over."""
        if self.is_held():
            _soon(lambda: storage.delete_volume(self._pool, self._name))


def take(
    pool: libvirt.virStoragePool,
    name: str,
    *,
    unless: Callable[[], bool],
    waiting: Callable[[], None],
) -> UploadLock | None:
    """Take the lock *name*, as soon as nobody holds it.

    :param unless: whether what the lock is for has been done, so that it is not needed any more.
    :param waiting: called each time that somebody else turns out to hold it.
    :returns: the lock, or ``None`` if it is not needed.
    """
    seen: bytes | None = None
    since = time.monotonic()
    while not unless():
        if _create(pool, name):
            lock = UploadLock(pool, name)
            lock.write()
            return lock
        waiting()
        content = _content(pool, name)
        if content != seen:
            seen, since = content, time.monotonic()
        elif time.monotonic() - since > STALE_AFTER:
            _soon(lambda: storage.delete_volume(pool, name))
        time.sleep(_LOOK_EVERY)
    return None


def _soon(act: Callable[[], object]) -> None:
    """Do what libvirt refuses for as long as somebody reads the volume, which takes a moment."""
    give_up_at = time.monotonic() + _READ_WITHIN
    while True:
        try:
            act()
        except libvirt.libvirtError as error:
            in_use = error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID
            if not in_use or time.monotonic() > give_up_at:
                raise
            time.sleep(_LOOK_AGAIN)
        else:
            return


def _create(pool: libvirt.virStoragePool, name: str) -> bool:
    """Create the lock's volume; return whether it was not there before."""
    try:
        pool.createXML(NewVolume(name, _BYTES, _BYTES).xml, 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_STORAGE_VOL_EXIST:
            return False
        # Another libvirtd with the same directory may have made it: then this one does not know it.
        storage.refresh(pool)
        if volume_called(pool, name) is None:
            raise
        return False
    return True


def _content(pool: libvirt.virStoragePool, name: str) -> bytes | None:
    """Return what the lock says; ``None`` if it is not there, or goes while it is read."""
    with suppress(libvirt.libvirtError):
        if (volume := volume_called(pool, name)) is not None:
            stream = volume.connect().newStream(0)
            volume.download(stream, 0, _BYTES, 0)
            return _received(stream)
    return None


def _received(stream: libvirt.virStream) -> bytes:
    content = b""
    while piece := stream.recv(_BYTES):
        content += piece
    stream.finish()
    return content
