# SPDX-License-Identifier: GPL-2.0-only
"""Copying of a frozen VM to another host, through libvirt's streams.

The copies are named like what a host has frozen itself, so a sweep frees them by their owner. The
memory says that it is a copy, and no master takes it for a frozen VM. All functions block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from threading import Event
from typing import TYPE_CHECKING

import libvirt

from latent_libvirt.config.units import MIB
from latent_libvirt.errors import ConfigurationError, HostError
from latent_libvirt.host.domains.domain_xml import restored_xml
from latent_libvirt.host.exporting.fitness import host_cpu
from latent_libvirt.host.exporting.saved_memory import with_xml
from latent_libvirt.host.inventory import free_space
from latent_libvirt.host.libvirtd import opening
from latent_libvirt.host.states.moving import fitness, layers
from latent_libvirt.host.states.moving.disk_header import based_on
from latent_libvirt.host.volumes import storage
from latent_libvirt.host.volumes.transfer import NewVolume, download, upload
from latent_libvirt.images.pieces import Hole

if TYPE_CHECKING:
    from latent_libvirt.host.domains.domain_xml import VmRecord
    from latent_libvirt.host.states.frozen import FrozenVm
    from latent_libvirt.host.states.moving.layers import Disk, Files
    from latent_libvirt.images.pieces import Piece


@dataclass(frozen=True)
class End:
    """One of the two hosts.

    :param connect: opens a connection that nothing else uses, since a stream may hold one up.
    """

    connect: Callable[[], libvirt.virConnect]
    storage_pool: str


def copy(frozen: FrozenVm, source: End, target: End, given_up: Event) -> FrozenVm:
    """Copy *frozen*; return what the other host can thaw.

    :param given_up: ends the copying when it is set.
    :raises ConfigurationError: if the VM cannot go on there. Nothing is copied then.
    :raises HostError: if it was given up, or something of the VM is damaged.
    :raises libvirt.libvirtError: if a host refuses. The sweep frees what was copied.
    """
    here = source.connect()
    try:
        there = target.connect()
        try:
            pools = (
                storage.storage_pool(here, source.storage_pool),
                storage.storage_pool(there, target.storage_pool),
            )
            return _Copying(frozen, *pools, given_up).all()
        finally:
            opening.close(there)
    finally:
        opening.close(here)


class _Copying:
    def __init__(
        self,
        frozen: FrozenVm,
        source: libvirt.virStoragePool,
        target: libvirt.virStoragePool,
        given_up: Event,
    ) -> None:
        self._frozen = frozen
        self._source = source
        self._target = target
        self._given_up = given_up

    def all(self) -> FrozenVm:
        there, xml = self._target.connect(), self._frozen.xml
        fitness.check(there, xml, host_cpu=host_cpu(self._source.connect()))
        storage.refresh(self._source)
        storage.refresh(self._target)
        files = layers.files_of(self._frozen, self._source, self._target)
        memory = self._source.storageVolLookupByName(self._frozen.name.state)
        self._check_space(files, memory)
        paths = {disk.path: self._copy_disk(disk) for disk in files.disks}
        path = self._copy_memory(memory)
        moved = fitness.moved_xml(xml, {**files.there, **paths})
        return replace(self._frozen, xml=moved, path=path)

    def _check_space(self, files: Files, memory: libvirt.virStorageVol) -> None:
        volumes = (memory, *(layer.volume for layer in files.layers))
        needed = sum(int(volume.info()[2]) for volume in volumes)
        free = free_space(self._target)
        if needed > free:
            raise ConfigurationError(
                f"its {needed // MIB} MiB are more than the {free // MIB} MiB that are free in "
                f"storage pool {self._target.name()!r} there",
                resolution="Make room in the storage pool.",
            )

    def _copy_disk(self, disk: Disk) -> str:
        """Return the path of the copy."""
        below = disk.base
        for layer in disk.layers:
            pieces = download(layer.volume)
            content = based_on(pieces, below) if below else pieces
            capacity = int(layer.volume.info()[1])
            new = NewVolume(layer.name.disk, _size(layer.volume), capacity, "qcow2")
            below = self._upload(new, content)
        return below

    def _copy_memory(self, memory: libvirt.virStorageVol) -> str:
        size = _size(memory)
        content = with_xml(download(memory), self._as_a_copy, readable=False)
        return self._upload(NewVolume(self._frozen.name.state, size, size), content)

    def _as_a_copy(self, xml: str) -> str:
        return restored_xml(xml, disks={}, record=self._record)

    @property
    def _record(self) -> VmRecord:
        return replace(self._frozen.record, state="copied", moved_to="")

    def _upload(self, new: NewVolume, content: Iterable[bytes]) -> str:
        storage.delete_volume(self._target, new.name)  # what an earlier attempt may have left
        upload(self._target, new, self._unless_given_up(content))
        return storage.path_of(self._target.storageVolLookupByName(new.name))

    def _unless_given_up(self, content: Iterable[bytes]) -> Iterator[Piece]:
        """Yield *content*, with holes where it has zeros."""
        for piece in content:
            if self._given_up.is_set():
                raise HostError("the copying was given up")
            yield piece if piece.strip(b"\0") else Hole(len(piece))


def _size(volume: libvirt.virStorageVol) -> int:
    """Return the bytes of a volume's file."""
    return int(volume.infoFlags(libvirt.VIR_STORAGE_VOL_GET_PHYSICAL)[2])
