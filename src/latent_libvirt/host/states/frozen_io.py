# SPDX-License-Identifier: GPL-2.0-only
"""Freezing a VM that runs, and thawing it: libvirt's save and restore, with its disk kept.

A frozen VM is two volumes of the host's storage pool: its overlay, as it is, and a file that
libvirt saves the memory to. All functions block, and let libvirt's own errors pass.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import libvirt

from latent_libvirt.config.units import MIB
from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.host.domains.domain_xml import restored_xml, saved_record, saved_size
from latent_libvirt.host.inventory import free_space
from latent_libvirt.host.names import OwnedVolume
from latent_libvirt.host.states import state_io
from latent_libvirt.host.states.frozen import Found, FrozenVm
from latent_libvirt.host.volumes import storage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from latent_libvirt.host.domains.domain_xml import VmRecord

OVERHEAD = 64 * MIB
"""Bytes that a saved memory takes beside the guest's: its devices, and video memory."""


class CannotBeFrozenError(LatentLibvirtError):
    """A VM cannot be frozen; it runs on."""


def freeze(
    pool: libvirt.virStoragePool, domain: libvirt.virDomain, name: OwnedVolume, *, space: int
) -> FrozenVm:
    """Save *domain* as *name*; it runs no longer.

    :param space: bytes that its memory and its disk may take.
    :raises CannotBeFrozenError: if there is no space for it; nothing has happened then.
    :raises libvirt.libvirtError: if libvirt cannot save it. It runs on, or is gone.
    """
    _check_space(pool, domain, name, space)
    state_io.save_memory(pool, domain, name, flags=libvirt.VIR_DOMAIN_SAVE_RUNNING)
    frozen = read(pool, name)
    if frozen is None:
        raise LatentLibvirtError(f"{name.state} is not what was saved there")
    return frozen


def _check_space(
    pool: libvirt.virStoragePool, domain: libvirt.virDomain, name: OwnedVolume, space: int
) -> None:
    memory = int(domain.maxMemory()) * 1024 + OVERHEAD
    disk = _size_of_disk(pool, name)
    if memory + disk > space:
        raise CannotBeFrozenError(
            f"{(memory + disk) // MIB} MiB of memory and disk are more than what is left of the "
            f"host's frozen_space, {max(0, space) // MIB} MiB",
            resolution="Release frozen VMs, or raise the frozen_space of the host.",
        )
    storage.refresh(pool)
    free = free_space(pool)
    if memory > free:
        raise CannotBeFrozenError(
            f"{memory // MIB} MiB of memory are more than the {free // MIB} MiB that are free in "
            f"storage pool {pool.name()!r}",
            resolution="Make room in the storage pool.",
        )


def _size_of_disk(pool: libvirt.virStoragePool, name: OwnedVolume) -> int:
    volumes = [pool.storageVolLookupByName(str(disk)) for disk in disks_of(pool, name)]
    return sum(int(volume.info()[2]) for volume in volumes)


def disks_of(pool: libvirt.virStoragePool, name: OwnedVolume) -> list[OwnedVolume]:
    """Return the disks of a VM that is frozen, or is to be.

    :raises libvirt.libvirtError: if the first one is not there.
    """
    first = OwnedVolume(name.owner_id, name.slot, name.vm_id)
    pool.storageVolLookupByName(str(first))
    return [each for each in storage.owned_volumes(pool) if replace(each, number=0) == first]


def read(pool: libvirt.virStoragePool, name: OwnedVolume) -> FrozenVm | None:
    """Return the frozen VM of that name; ``None`` if it is not whole, or not one of ours."""
    try:
        state = pool.storageVolLookupByName(name.state)
        xml = pool.connect().saveImageGetXMLDesc(storage.path_of(state), 0)
        size = int(state.info()[2]) + _size_of_disk(pool, name)
    except libvirt.libvirtError as error:
        if error.get_error_code() not in _NOT_WHOLE or not pool.connect().isAlive():
            raise
        return None
    except UnicodeDecodeError:
        return None
    record = saved_record(xml)
    if record is None or (record.owner_id, record.vm_id) != (name.owner_id, name.vm_id):
        return None
    if record.state == "copied":  # whole or not: the host that it was copied from has it
        return None
    vcpus, memory = saved_size(xml)
    path = storage.path_of(state)
    return FrozenVm(name, record, xml, path, size, vcpus, memory, storage.changed_at(state))


_NOT_WHOLE = (
    libvirt.VIR_ERR_NO_STORAGE_VOL,
    libvirt.VIR_ERR_OPERATION_FAILED,  # "not a save image", "save image is incomplete"
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
    libvirt.VIR_ERR_XML_ERROR,
)


def read_all(
    connection: libvirt.virConnect, storage_pool: str, names: Iterable[OwnedVolume]
) -> Found:
    """Return those of *names* that are whole, and those that cannot be read.

    One that cannot be read, as after an error of its disk, hides no other.
    """
    pool = storage.storage_pool(connection, storage_pool)
    whole, unread = [], {}
    for name in names:
        try:
            frozen = read(pool, name)
        except Exception as error:
            if not connection.isAlive():
                raise
            unread[name.vm_id] = str(error) or repr(error)
        else:
            whole += [frozen] if frozen is not None else []
    return Found(tuple(whole), unread)


def thaw(connection: libvirt.virConnect, frozen: FrozenVm, record: VmRecord) -> libvirt.virDomain:
    """Let *frozen* go on; return its domain. It runs, or nothing has happened."""
    xml = restored_xml(frozen.xml, disks={}, record=record)
    # In one call: a domain that is there has run, and its memory in the file is out of date.
    connection.restoreFlags(frozen.path, xml, libvirt.VIR_DOMAIN_SAVE_RUNNING)
    return connection.lookupByName(frozen.domain)


def mark_moved(connection: libvirt.virConnect, frozen: FrozenVm) -> None:
    """Let the memory of a frozen VM say what its record does."""
    # With what is secret: libvirt would forget what it is not given.
    secure = libvirt.VIR_DOMAIN_SAVE_IMAGE_XML_SECURE
    xml = connection.saveImageGetXMLDesc(frozen.path, secure)
    connection.saveImageDefineXML(frozen.path, restored_xml(xml, disks={}, record=frozen.record))


def delete_memory(connection: libvirt.virConnect, storage_pool: str, name: OwnedVolume) -> None:
    """Delete the memory of a VM that is frozen no more; its disk stays."""
    storage.delete_volume(storage.storage_pool(connection, storage_pool), name.state)


def delete(connection: libvirt.virConnect, storage_pool: str, name: OwnedVolume) -> None:
    """Delete a frozen VM, the memory first."""
    pool = storage.storage_pool(connection, storage_pool)
    storage.delete_volume(pool, name.state)
    for each in storage.owned_volumes(pool):
        if each.kind == "overlay" and (each.owner_id, each.vm_id) == (name.owner_id, name.vm_id):
            storage.delete_owned(pool, each)
