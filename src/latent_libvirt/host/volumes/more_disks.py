# SPDX-License-Identifier: GPL-2.0-only
"""Disks of a VM beside the first one: what they begin with, and how they come to be on a host.

A disk that is saved with a VM is below those of the VMs that are resumed: a guest may have made a
file system there while it booted. All functions block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import libvirt

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.host.domains.domain_xml import MoreDisk
from latent_libvirt.host.libvirtd.answers import parsed
from latent_libvirt.host.volumes import storage, volume_fitness

if TYPE_CHECKING:
    from collections.abc import Iterable

    from latent_libvirt.config.hardware.disks import DiskConfig
    from latent_libvirt.host.names import OwnedVolume

_FORMATS: Final = {"qcow2": "qcow2", "raw": "raw", "iso": "raw"}
"""Formats of libvirt that guests may read without an overlay, and QEMU's drivers for them."""


@dataclass(frozen=True)
class Source:
    """What a disk of a label begins with on one host.

    :param number: from 1 on, in the order of the label.
    :param path: of its volume on the host; empty for a disk that begins empty.
    :param changed: when the volume was written last.
    """

    config: DiskConfig
    number: int
    path: str = ""
    format: str = "qcow2"
    changed: str = ""

    def disk(self, path: str = "") -> MoreDisk:
        """Return what the domain gets.

        :param path: of the disk that was made for the VM; one that is only read needs none.
        """
        if self.config.read_only:
            return MoreDisk(self.number, self.config.name, self.path, self.format, read_only=True)
        return MoreDisk(self.number, self.config.name, path)


def sources(pool: libvirt.virStoragePool, disks: Iterable[DiskConfig]) -> tuple[Source, ...]:
    """Return what *disks* begin with in this storage pool at this moment.

    :raises ConfigurationError: if a volume is not there, or is not what a disk can begin with.
    """
    return tuple(_source(pool, disk, number) for number, disk in enumerate(disks, start=1))


def _source(pool: libvirt.virStoragePool, disk: DiskConfig, number: int) -> Source:
    if disk.volume is None:
        return Source(disk, number)
    try:
        volume = pool.storageVolLookupByName(disk.volume)
        xml = parsed(volume.XMLDesc(), f"volume {disk.volume}")
        if not disk.read_only:
            volume_fitness.check(pool, volume, disk.volume, xml)
        path = storage.path_of(volume)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
            raise
        raise _missing(pool, disk) from None
    found = xml.find("target/format")
    kind = "" if found is None else str(found.get("type"))
    if kind not in _FORMATS:
        raise _unfit(pool, disk, kind)
    changed = xml.findtext("target/timestamps/mtime") or ""
    return Source(disk, number, path, _FORMATS[kind], changed)


def _missing(pool: libvirt.virStoragePool, disk: DiskConfig) -> ConfigurationError:
    return ConfigurationError(
        f"storage pool {pool.name()!r} has no volume {disk.volume!r}, which disk {disk.name!r} "
        "begins with",
        resolution="Upload it there, or change the disk in the label's disks.",
    )


def _unfit(pool: libvirt.virStoragePool, disk: DiskConfig, kind: str) -> ConfigurationError:
    return ConfigurationError(
        f"volume {disk.volume!r} in storage pool {pool.name()!r} cannot be disk {disk.name!r}",
        details=f"Its format, as libvirt sees it: {kind or 'unknown'}. Guests can read "
        f"{' and '.join(sorted(_FORMATS))}.",
        resolution="Convert it with qemu-img, or name another volume in the label's disks.",
    )


def create(
    pool: libvirt.virStoragePool, found: Iterable[Source], name: OwnedVolume
) -> tuple[MoreDisk, ...]:
    """Create the disks beside the first one of a VM that boots.

    :param name: of the VM's first disk.
    """
    return tuple(each.disk(_created(pool, each, name.of_disk(each.number))) for each in found)


def _created(pool: libvirt.virStoragePool, source: Source, name: OwnedVolume) -> str:
    if source.config.read_only:
        return ""
    if source.config.volume is None:
        assert source.config.size is not None
        return storage.create_empty(pool, name, capacity=source.config.size)
    base = pool.storageVolLookupByName(source.config.volume)
    return storage.create_overlay(pool, name, base=base, capacity=source.config.size)


def create_on_saved(
    pool: libvirt.virStoragePool,
    saved: Iterable[tuple[OwnedVolume, storage.Backing]],
    name: OwnedVolume,
) -> dict[int, str]:
    """Create overlays on disks that were saved with a VM; return their paths by number.

    :param name: of the VM's first disk.
    """
    return {
        each.number: storage.create_overlay(
            pool, name.of_disk(each.number), base=backing, capacity=None
        )
        for each, backing in saved
    }


def owned(disks: Iterable[DiskConfig], name: OwnedVolume) -> list[OwnedVolume]:
    """Return the names of the volumes that are made for *disks* of the VM of *name*."""
    numbered = enumerate(disks, start=1)
    return [name.of_disk(number) for number, disk in numbered if not disk.read_only]
