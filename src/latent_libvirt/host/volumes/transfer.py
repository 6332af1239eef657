# SPDX-License-Identifier: GPL-2.0-only
"""The content of volumes, up and down, through libvirt's streams: local and remote hosts alike.

What the volumes are for is not known here. All functions block, and let libvirt's errors pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import libvirt
from lxml import etree
from lxml.builder import E

from latent_libvirt.images.pieces import Hole

if TYPE_CHECKING:
    from latent_libvirt.images.pieces import Piece

_CHUNK_BYTES: Final = 1 << 20
_MESSAGE_BYTES: Final = (1 << 18) - 24
"""What libvirt sends at once, without its header."""

_FORMATTED: Final = 4 << 20
"""Bytes at the beginning of a new volume in which libvirt may have written a header and tables. A
hole there would not make them zeros."""

_NOT_SPARSE: Final = (
    libvirt.VIR_ERR_NO_SUPPORT,
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
    libvirt.VIR_ERR_INVALID_ARG,
)
"""What a libvirt says that does not know sparse streams, or cannot have one here."""


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
    def can_go_on(self) -> bool:
        """Whether its length shows how much of it has been uploaded, as a raw one's does not."""
        return self.format == "qcow2"

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


def upload(
    pool: libvirt.virStoragePool,
    new: NewVolume,
    pieces: Iterable[Piece],
    *,
    start: int = 0,
    say: Callable[[str], None] = lambda _text: None,
) -> None:
    """Create a volume from what *pieces* yields; if that fails in any way, no volume is left.

    :param start: bytes that an earlier upload has left, and that stay. Then *pieces* begins there.
    :param say: gets a sentence for the operator, if the host wants holes as zeros.
    :raises KeyboardInterrupt: Ctrl-C was pressed. A volume that can be gone on with stays.
    """
    volume = pool.storageVolLookupByName(new.name) if start else pool.createXML(new.xml, 0)
    try:
        _send(_Up(volume, start, new.size, say), pieces)
    except BaseException as error:
        if not (isinstance(error, KeyboardInterrupt) and new.can_go_on):
            with suppress(libvirt.libvirtError):
                volume.delete(0)
        raise


def left_of(pool: libvirt.virStoragePool, new: NewVolume) -> int:
    """Return how many bytes of *new* an earlier upload has left that another one can go on after.

    What they are is not known here.
    """
    volume = volume_called(pool, new.name) if new.can_go_on else None
    if volume is None:
        return 0
    size = int(volume.infoFlags(libvirt.VIR_STORAGE_VOL_GET_PHYSICAL)[2])
    return size if _FORMATTED < size <= new.size else 0


class _Up:
    """A stream up into a volume."""

    def __init__(
        self, volume: libvirt.virStorageVol, start: int, size: int, say: Callable[[str], None]
    ) -> None:
        self._at = start
        self.stream = volume.connect().newStream(0)
        try:
            volume.upload(
                self.stream, start, size - start, libvirt.VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM
            )
            self._takes_holes = True
        except libvirt.libvirtError as error:
            if error.get_error_code() not in _NOT_SPARSE:
                raise
            say("The host's libvirt takes no sparse streams, so holes are sent as zeros.")
            self._takes_holes = False
            self.stream = volume.connect().newStream(0)
            volume.upload(self.stream, start, size - start, 0)

    def send(self, piece: Piece) -> None:
        """Send what comes next."""
        if isinstance(piece, bytes):
            self._send_data(piece)
            return
        stored = piece.size if not self._takes_holes else min(piece.size, self._stored_below)
        for zeros in Hole(stored).zeros():
            self._send_data(zeros)
        if stored < piece.size:
            self.stream.sendHole(piece.size - stored, 0)
            self._at += piece.size - stored

    @property
    def _stored_below(self) -> int:
        """Bytes from here on that a hole would leave as libvirt has formatted them."""
        return max(0, _FORMATTED - self._at)

    def _send_data(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self.stream.send(bytes(view[:_MESSAGE_BYTES])) :]
        self._at += len(data)


def _send(up: _Up, pieces: Iterable[Piece]) -> None:
    try:
        for piece in pieces:
            up.send(piece)
    except BaseException:
        with suppress(libvirt.libvirtError):
            up.stream.abort()
        raise
    up.stream.finish()


def beginning(volume: libvirt.virStorageVol, size: int, *, start: int = 0) -> bytes:
    """Return *size* bytes of a volume from the byte *start* on, or all of it if there are fewer."""
    stream = volume.connect().newStream(0)
    read = b""
    volume.download(stream, start, size, 0)
    try:
        while len(read) < size and (chunk := stream.recv(size - len(read))):
            read += chunk
    finally:
        with suppress(libvirt.libvirtError):
            stream.abort()
    return read


def download(volume: libvirt.virStorageVol) -> Iterator[bytes]:
    """Yield the content of a volume, piece by piece. Holes are not sent, and are zeros here."""
    stream = volume.connect().newStream(0)
    try:
        volume.download(stream, 0, 0, libvirt.VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM)
        stop_at = libvirt.VIR_STREAM_RECV_STOP_AT_HOLE
    except libvirt.libvirtError as error:
        if error.get_error_code() not in _NOT_SPARSE:
            raise
        stream = volume.connect().newStream(0)
        volume.download(stream, 0, 0, 0)
        stop_at = 0
    try:
        while chunk := stream.recvFlags(_CHUNK_BYTES, stop_at):
            if isinstance(chunk, bytes):
                yield chunk
            else:
                yield from Hole(stream.recvHole(0)).zeros()
    except BaseException:
        with suppress(libvirt.libvirtError):
            stream.abort()
        raise
    stream.finish()
