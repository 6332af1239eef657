# SPDX-License-Identifier: GPL-2.0-only
"""The content of volumes, up and down, through libvirt's streams: local and remote hosts alike.

What the volumes are for is not known here. All functions block, and let libvirt's errors pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal

import libvirt
from lxml import etree
from lxml.builder import E

_CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class NewVolume:
    """A volume that is to be uploaded.

    :param size: bytes of its content.
    :param capacity: bytes that a guest would see; for anything but ``qcow2`` the same as *size*.
    """

    name: str
    size: int
    capacity: int
    format: Literal["raw", "qcow2"] = "raw"

    @property
    def xml(self) -> str:
        """What libvirt creates it from."""
        element = E.volume(
            E.name(self.name),
            E.capacity(str(self.capacity), unit="bytes"),
            E.allocation("0"),
            E.target(E.format(type=self.format)),
        )
        return etree.tostring(element, encoding="unicode")


def volume_called(pool: libvirt.virStoragePool, name: str) -> libvirt.virStorageVol | None:
    """Return the volume of that name, or ``None`` where there is none."""
    try:
        return pool.storageVolLookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
            raise
        return None


def upload(pool: libvirt.virStoragePool, new: NewVolume, chunks: Iterable[bytes]) -> None:
    """Create a volume from what *chunks* yields; if that fails in any way, no volume is left."""
    volume = pool.createXML(new.xml, 0)
    try:
        _send(volume, new.size, chunks)
    except BaseException:
        with suppress(libvirt.libvirtError):
            volume.delete(0)
        raise


def _send(volume: libvirt.virStorageVol, size: int, chunks: Iterable[bytes]) -> None:
    stream = volume.connect().newStream(0)
    volume.upload(stream, 0, size, 0)
    try:
        for chunk in chunks:
            _send_all(stream, memoryview(chunk))
    except BaseException:
        with suppress(libvirt.libvirtError):
            stream.abort()
        raise
    stream.finish()


def _send_all(stream: libvirt.virStream, data: memoryview) -> None:
    while data:
        data = data[stream.send(bytes(data)) :]


def beginning(volume: libvirt.virStorageVol, size: int) -> bytes:
    """Return the first *size* bytes of a volume, or all of it if there are fewer."""
    stream = volume.connect().newStream(0)
    read = b""
    volume.download(stream, 0, size, 0)
    try:
        while len(read) < size and (chunk := stream.recv(size - len(read))):
            read += chunk
    finally:
        with suppress(libvirt.libvirtError):
            stream.abort()
    return read


def download(volume: libvirt.virStorageVol) -> Iterator[bytes]:
    """Yield the content of a volume, piece by piece."""
    stream = volume.connect().newStream(0)
    volume.download(stream, 0, 0, 0)
    try:
        while chunk := stream.recv(_CHUNK_BYTES):
            yield chunk
    except BaseException:
        with suppress(libvirt.libvirtError):
            stream.abort()
        raise
    stream.finish()
