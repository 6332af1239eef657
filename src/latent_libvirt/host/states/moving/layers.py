# SPDX-License-Identifier: GPL-2.0-only
"""Layers of the disks of a frozen VM: those that are copied, and base images that have to be there.

A base image has to be published on the other host with the same digest. All functions block, and
let libvirt's own errors pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import libvirt

from latent_libvirt.config.hardware.disk_names import MOST_DISKS
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.host.exporting.portable_xml import source_files
from latent_libvirt.host.libvirtd.answers import parsed
from latent_libvirt.host.names import OwnedVolume
from latent_libvirt.host.volumes import images, storage

if TYPE_CHECKING:
    from latent_libvirt.host.states.frozen import FrozenVm
    from latent_libvirt.host.volumes.images import PublishedImage

_LOWER: Final = 50
"""What is added to the number of a disk for what is below it, which was saved with another VM."""

assert _LOWER > MOST_DISKS


def lower(name: OwnedVolume) -> OwnedVolume:
    """Return the name, on another host, of what is below the disk *name* of a VM."""
    return name.of_disk(name.number + _LOWER)


@dataclass(frozen=True)
class Layer:
    """A volume that is copied.

    :param name: of the copy.
    """

    volume: libvirt.virStorageVol
    name: OwnedVolume


@dataclass(frozen=True)
class Disk:
    """A disk that is copied.

    :param path: of its uppermost layer, on the host that the VM was frozen on.
    :param layers: the lowest one first.
    :param base: the path, on the other host, of what the lowest one is based on; empty for nothing.
    """

    path: str
    layers: tuple[Layer, ...]
    base: str


@dataclass(frozen=True)
class Files:
    """What a VM consists of, beside its memory.

    :param there: paths of what the other host has already, by the paths on the first one.
    """

    disks: tuple[Disk, ...]
    there: Mapping[str, str]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers that are copied."""
        return tuple(layer for disk in self.disks for layer in disk.layers)


def files_of(
    frozen: FrozenVm, source: libvirt.virStoragePool, target: libvirt.virStoragePool
) -> Files:
    """Return what *frozen* consists of.

    :raises ConfigurationError: if a base image is not there, or may not be the same.
    """
    base = _bases(source, target)
    disks, there = [], {}
    for path in source_files(frozen.xml).values():
        volume = source.connect().storageVolLookupByPath(path)
        if _own(volume) is None:
            there[path] = base(volume)
        else:
            disks.append(_disk(volume, frozen, base))
    return Files(tuple(disks), there)


def _own(volume: libvirt.virStorageVol) -> OwnedVolume | None:
    return OwnedVolume.parse(volume.name())


def _disk(
    top: libvirt.virStorageVol, frozen: FrozenVm, base: Callable[[libvirt.virStorageVol], str]
) -> Disk:
    own = _own(top)
    assert own is not None
    first = OwnedVolume(frozen.name.owner_id, frozen.slot, frozen.vm_id, number=own.number)
    layers, below = [Layer(top, first)], _below(top)
    if below is not None and _own(below) is not None:
        layers.insert(0, Layer(below, lower(first)))
        below = _below(below)
    return Disk(top.path(), tuple(layers), "" if below is None else base(below))


def _below(volume: libvirt.virStorageVol) -> libvirt.virStorageVol | None:
    path = parsed(volume.XMLDesc(), "a volume").findtext("backingStore/path")
    return volume.connect().storageVolLookupByPath(path) if path else None


def _bases(
    source: libvirt.virStoragePool, target: libvirt.virStoragePool
) -> Callable[[libvirt.virStorageVol], str]:
    """Return what finds the path, on the other host, of a volume of a published image."""
    known = {
        image.volume(part): image
        for image in images.published(source)
        for part, _ in image.description.parts.items()
    }

    def path_of(volume: libvirt.virStorageVol) -> str:
        name = volume.name()
        if name not in known:
            raise _unknown(name)
        _check_published(target, known[name])
        return storage.path_of(target.storageVolLookupByName(name))

    return path_of


def _check_published(target: libvirt.virStoragePool, image: PublishedImage) -> None:
    same = (each for each in images.published(target, image.name) if each.digest == image.digest)
    if any(not images.lost_volumes(target, each) for each in same):
        return
    raise ConfigurationError(
        f"its image {image.name} {image.description.short_digest} is not published there",
        resolution=f"Publish it: {images.how_to_publish(target, image.name)}",
    )


def _unknown(name: str) -> ConfigurationError:
    return ConfigurationError(
        f"it needs volume {name}, which is of no published image",
        details="Nobody knows whether the other host has the same.",
        resolution="Thaw it on its host, or export it with --with-base.",
    )
