# SPDX-License-Identifier: GPL-2.0-only
"""Inventory of a host: processors, memory, storage pools and networks, for its setup.

Only looks; nothing here changes a host. All functions block. What names a URI connects to it for
the occasion.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import libvirt

from latent_libvirt import advice
from latent_libvirt.errors import ConfigurationError, HostError
from latent_libvirt.host.libvirtd.answers import (
    listed,
    named,
    parsed,
)
from latent_libvirt.host.libvirtd.errand import visiting
from latent_libvirt.host.volumes import (
    images,
    storage,
)

if TYPE_CHECKING:
    from latent_libvirt.config.sections.image import ImageConfig

FILE_POOLS = ("dir", "fs", "netfs")
"""The types of storage pool that hold qcow2 files, which overlays are (libvirt, "Storage")."""


@dataclass(frozen=True)
class StoragePool:
    """An active storage pool.

    :param available: free bytes.
    :param images: the names of the images published in it, the newest first, each once.
    """

    name: str
    available: int
    images: tuple[str, ...]


@dataclass(frozen=True)
class Inventory:
    """What a host has.

    :param memory: bytes.
    :param pools: the active storage pools that can hold overlays.
    """

    uri: str
    hostname: str
    cpus: int
    memory: int
    pools: tuple[StoragePool, ...]


def take(uri: str) -> Inventory:
    """Return what the host at *uri* has.

    :raises HostError: if there is no libvirt, or it refuses.
    """
    with visiting(uri) as connection:
        return _inventory(uri, connection)


def verify_image(uri: str, pool: str, image: ImageConfig) -> None:
    """Download what *image* stands for in a storage pool, and compare it with what was published.

    :raises ConfigurationError: if it is not there.
    :raises HostError: if it is not what was published, or libvirt refuses.
    """
    assert image.name is not None
    with visiting(uri) as connection:
        there = storage.storage_pool(connection, pool)
        images.verify(there, images.find(there, image.name, image.digest))


def _inventory(uri: str, connection: libvirt.virConnect) -> Inventory:
    _model, mebibytes, cpus, *_topology = connection.getInfo()
    active = connection.listAllStoragePools(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE)
    return Inventory(
        uri=uri,
        hostname=connection.getHostname(),
        cpus=cpus,
        memory=mebibytes * 2**20,
        pools=tuple(_storage_pool(name, pool) for name, pool in named(active) if _has_files(pool)),
    )


def _storage_pool(name: str, pool: libvirt.virStoragePool) -> StoragePool:
    """Return what is in a storage pool; of one whose disk is gone, that there is no room."""
    try:
        storage.refresh(pool)
        names = dict.fromkeys(image.name for image in images.published(pool))
        return StoragePool(name, free_space(pool), tuple(names))
    except (libvirt.libvirtError, HostError):
        if not pool.connect().isAlive():
            raise
        return StoragePool(name, 0, ())


def _has_files(pool: libvirt.virStoragePool) -> bool:
    """Whether it holds qcow2 files; not if what libvirt says of it cannot be read."""
    try:
        return pool_type(pool) in FILE_POOLS
    except (libvirt.libvirtError, HostError):
        if not pool.connect().isAlive():
            raise
        return False


def pool_type(pool: libvirt.virStoragePool) -> str:
    """Return the type of a storage pool, as its XML has it."""
    return str(parsed(pool.XMLDesc(), "a storage pool").get("type"))


def free_space(pool: libvirt.virStoragePool) -> int:
    """Return how many bytes QEMU can write to *pool*, as of its last refresh.

    libvirt counts what a file system keeps for root as free, and QEMU does not run as root.
    """
    return max(0, int(pool.info()[3]) - (kept_for_root(pool) or 0))


def kept_for_root(pool: libvirt.virStoragePool) -> int | None:
    """Return how many of the free bytes only root can use; ``None`` where nobody knows.

    libvirt does not say; this machine can, where the pool is on a separate file system.
    """
    path = parsed(pool.XMLDesc(), "a storage pool").findtext("target/path")
    try:
        here = os.statvfs(path or "")
    except OSError:
        return None
    if here.f_frsize * here.f_blocks != int(pool.info()[1]):
        return None  # that directory is on another machine, or the pool is no directory
    return (here.f_bfree - here.f_bavail) * here.f_frsize


def active_network(connection: libvirt.virConnect, name: str) -> libvirt.virNetwork:
    """Return the libvirt network of that name.

    :raises ConfigurationError: if the host has none, or it is not active.
    """
    try:
        network = connection.networkLookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_NETWORK:
            raise
        raise _no_such_network(connection, name, error) from None
    if not network.isActive():
        raise ConfigurationError(
            f"network {name!r} of {connection.getURI()} is not active",
            resolution="Start it, and let it start with the host:"
            + advice.listed(
                *(
                    advice.virsh(connection.getURI(), f"net-{verb}", name)
                    for verb in ("start", "autostart")
                )
            ),
        )
    return network


def _no_such_network(
    connection: libvirt.virConnect, name: str, error: libvirt.libvirtError
) -> ConfigurationError:
    there = listed(connection.listAllNetworks())
    return ConfigurationError(
        f"{connection.getURI()} has no network {name!r}",
        details=f"{error}. Its networks: {there}.",
        resolution="Name one of them as the label's network, or define it with 'virsh net-define'.",
    )


def has_interface(connection: libvirt.virConnect, name: str) -> bool:
    """Return whether libvirt knows a network interface of that name, such as a bridge.

    ``False`` may also mean that its driver for interfaces is not installed there.
    """
    try:
        connection.interfaceLookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() not in _NO_INTERFACE:
            raise
        return False
    return True


_NO_INTERFACE = (libvirt.VIR_ERR_NO_INTERFACE, libvirt.VIR_ERR_NO_SUPPORT)
