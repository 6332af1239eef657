# SPDX-License-Identifier: GPL-2.0-only
"""Packing of a frozen VM into a file: its memory, the layers of its disks, its XML, and a README.

Everything goes through libvirt's streams, so it works on remote hosts. All functions block. Base
images are named by their digests, and only packed if somebody asks for that.
"""

from __future__ import annotations

import hashlib
import io
import json
import mmap
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import libvirt

from latent_libvirt.errors import ConfigurationError, LatentLibvirtError
from latent_libvirt.host.exporting import space
from latent_libvirt.host.exporting.fitness import host_cpu
from latent_libvirt.host.exporting.portable_xml import portable_xml, source_files
from latent_libvirt.host.exporting.readme import readme
from latent_libvirt.host.exporting.saved_memory import overwrite_ends, portable
from latent_libvirt.host.libvirtd.answers import parsed
from latent_libvirt.host.names import OwnedVolume
from latent_libvirt.host.volumes import storage
from latent_libvirt.host.volumes.transfer import download
from latent_libvirt.process import new_files

if TYPE_CHECKING:
    from latent_libvirt.host.states.frozen import FrozenVm

FORMAT: Final = 1

MEMORY: Final = "memory.state"
XML: Final = "domain.xml"
DESCRIPTION: Final = "export.json"

_MOST_LAYERS: Final = 8

_OF_TEXTS: Final = 1 << 20
"""Bytes of an export beside its disks and memory, and more."""


@dataclass(frozen=True)
class Layer:
    """A file of a disk.

    :param file: its name in the export.
    :param below: the name of the file that it is based on; empty for none.
    :param sha256: of its content; of a base image only.
    :param is_packed: whether it is in the export.
    :param volume: its name on the host; of a base image only, and of older versions none.
    """

    file: str
    below: str
    size: int
    is_packed: bool = True
    sha256: str = ""
    volume: str = ""


@dataclass(frozen=True)
class Export:
    """What an export is.

    :param layers: of all disks, those that guests write to first.
    :param host_cpu: the XML of the processor that the VM ran on.
    """

    vm_id: str
    domain: str
    label: str
    image: str
    layers: tuple[Layer, ...]
    host_cpu: str
    format: int = FORMAT


Say = Callable[[str], None]


@contextmanager
def new_file(file: Path) -> Iterator[IO[bytes]]:
    """Make *file*, open it for :func:`pack`, and delete it if that fails in any way.

    :raises ConfigurationError: if there is a file already, or it would be no file.
    :raises OSError: if it cannot be made.
    """
    if str(file) == "-":
        raise ConfigurationError(
            "an export cannot go to standard output",
            details="What is written is looked through for passwords once more.",
            resolution="Name a new file.",
        )
    new_files.refuse_unfit(file)
    opened = open(file, "x+b", opener=_for_its_owner)  # noqa: SIM115 - see below
    try:
        yield opened
        opened.close()
    except BaseException:
        with suppress(OSError):  # a disk that is full refuses what is still to be written
            opened.close()
        with suppress(OSError):
            file.unlink()
        raise


def _for_its_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def pack(  # noqa: PLR0913 - what, from where, and to where
    connection: libvirt.virConnect,
    storage_pool: str,
    frozen: FrozenVm,
    output: IO[bytes],
    *,
    with_base: bool,
    say: Say = lambda _: None,
) -> Export:
    """Pack *frozen* into *output*, a new file.

    :raises ConfigurationError: if there is too little space for it.
    :raises OSError: if it cannot be written.
    :raises LatentLibvirtError: if something of the VM is not there.
    """
    pool = storage.storage_pool(connection, storage_pool)
    storage.refresh(pool)
    with tarfile.open(fileobj=output, mode="w") as tar:
        packing = _Packing(pool, frozen, tar, say)
        needed = packing.size(with_base=with_base)
        with space.needed(output, needed):
            export = packing.all(with_base=with_base)
            tar.close()
            output.flush()
    return export


class _Packing:
    def __init__(
        self, pool: libvirt.virStoragePool, frozen: FrozenVm, tar: tarfile.TarFile, say: Say
    ) -> None:
        self._pool = pool
        self._frozen = frozen
        self._tar = tar
        self._say = say
        self._files: dict[str, str] = {}
        self._layers: list[Layer] = []

    def size(self, *, with_base: bool) -> int:
        """Return how many bytes all files have that are packed, and their headers."""
        volumes = [self._pool.storageVolLookupByName(self._frozen.name.state)]
        for what, path in source_files(self._frozen.xml).items():
            is_disk = what not in ("kernel", "initrd")
            chain = self._chain(path) if is_disk else [self._volume(path)]
            volumes += [each for each in chain if not is_disk or with_base or _is_own(each)]
        return sum(map(_size, volumes)) + _OF_TEXTS

    def all(self, *, with_base: bool) -> Export:
        for what, path in source_files(self._frozen.xml).items():
            if what in ("kernel", "initrd"):
                self._files[path] = what
                self._add(what, self._volume(path))
            else:
                self._disk(what, path, with_base=with_base)
        xml = partial(portable_xml, files=self._files)
        export = self._export()
        self._add_text(XML, xml(self._frozen.xml))
        self._add_text(DESCRIPTION, json.dumps(asdict(export), indent=2))
        self._add_text("README.md", readme(export))
        self._add_memory(xml)
        return export

    def _add_memory(self, xml: Callable[[str], str]) -> None:
        memory = self._pool.storageVolLookupByName(self._frozen.name.state)
        found: set[bytes] = set()
        self._add(MEMORY, memory, lambda pieces: portable(pieces, xml, found))
        output: Any = self._tar.fileobj
        output.flush()
        end = output.tell()
        with mmap.mmap(output.fileno(), end) as written:
            overwrite_ends(written, end - _padded(_size(memory)), end, found)

    def _export(self) -> Export:
        record = self._frozen.record
        return Export(
            vm_id=self._frozen.vm_id,
            domain=self._frozen.domain,
            label=record.label,
            image=record.image,
            layers=tuple(self._layers),
            host_cpu=host_cpu(self._pool.connect()),
        )

    def _disk(self, device: str, path: str, *, with_base: bool) -> None:
        """Add the layers of a disk, the last one of which is what the guest began with."""
        chain = self._chain(path)
        names = [f"{device}-{number}.{_format(each)}" for number, each in enumerate(chain)]
        self._files[path] = names[0]
        for number, volume in enumerate(chain):
            below = names[number + 1] if number + 1 < len(chain) else ""
            is_own = _is_own(volume)
            size, is_packed, sha256, name = _size(volume), is_own or with_base, "", ""
            if is_packed:
                self._add(names[number], volume)
            if not is_own:
                self._say(f"reading {volume.name()} for its digest")
                sha256, name = _digest(download(volume)), volume.name()
            self._layers.append(Layer(names[number], below, size, is_packed, sha256, name))

    def _chain(self, path: str) -> list[libvirt.virStorageVol]:
        chain: list[libvirt.virStorageVol] = []
        while path:
            if len(chain) == _MOST_LAYERS:
                raise LatentLibvirtError(f"{path} is based on too many others")
            chain.append(self._volume(path))
            xml = parsed(chain[-1].XMLDesc(), "a volume")
            path = xml.findtext("backingStore/path") or ""
        return chain

    def _volume(self, path: str) -> libvirt.virStorageVol:
        return self._pool.connect().storageVolLookupByPath(path)

    def _add(
        self,
        name: str,
        volume: libvirt.virStorageVol,
        through: Callable[[Iterable[bytes]], Iterable[bytes]] = lambda pieces: pieces,
    ) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mode = _size(volume), 0o600
        self._say(f"packing {name}, {member.size // 2**20} MiB")
        self._tar.addfile(member, _Reader(through(download(volume)), member.size))  # type: ignore[arg-type]

    def _add_text(self, name: str, text: str) -> None:
        data = text.encode()
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(data), 0o600
        self._tar.addfile(member, io.BytesIO(data))


class _Reader:
    """A file of so many bytes, from pieces; what is missing at its end are zeros."""

    def __init__(self, pieces: Iterable[bytes], size: int) -> None:
        self._pieces: Iterator[bytes] = iter(pieces)
        self._left = size
        self._buffer = b""

    def read(self, size: int) -> bytes:
        size = min(size, self._left)
        parts, have = [self._buffer], len(self._buffer)
        while have < size:
            piece = next(self._pieces, None)
            if piece is None:
                piece = bytes(size - have)
            parts.append(piece)
            have += len(piece)
        data = b"".join(parts)
        self._buffer = data[size:]
        self._left -= size
        return data[:size]


def _is_own(volume: libvirt.virStorageVol) -> bool:
    return OwnedVolume.parse(volume.name()) is not None


def _format(volume: libvirt.virStorageVol) -> str:
    """Return the format of a disk to QEMU. Of a raw one, libvirt may name what is in it."""
    found = parsed(volume.XMLDesc(), "a volume").find("target/format")
    return "qcow2" if found is not None and found.get("type") == "qcow2" else "raw"


def _size(volume: libvirt.virStorageVol) -> int:
    """Return the bytes of a volume's file."""
    return int(volume.infoFlags(libvirt.VIR_STORAGE_VOL_GET_PHYSICAL)[2])


def _padded(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _digest(pieces: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()
