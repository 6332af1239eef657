# SPDX-License-Identifier: GPL-2.0-only
"""Overlays and other volumes in a host's storage pool, through libvirt's storage API.

All functions block; the connection runs them in its threads. What a published image consists of is
up to ``images.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

import libvirt
from lxml import etree
from lxml.builder import E

from latent_libvirt import advice
from latent_libvirt.errors import ConfigurationError, HostError
from latent_libvirt.host.libvirtd import opening
from latent_libvirt.host.libvirtd.answers import (
    listed,
    named,
    parsed,
)
from latent_libvirt.host.names import OwnedVolume
from latent_libvirt.host.volumes.volume_xml import overlay_xml, qcow2_target

T = TypeVar("T")


def in_pool(
    connection: libvirt.virConnect, name: str, do: Callable[[libvirt.virStoragePool], T]
) -> T:
    """Return what *do* returns for the storage pool called *name*.

    The pool is looked up once for each connection, which saves two messages each time. *do* is
    called again if the pool has been made again since then, or is not active.

    :raises ConfigurationError: if the host has no such pool, or has it and it is not active.
    """
    kept = opening.handles(connection)
    pool = kept.get(name)
    if pool is not None:
        try:
            return do(pool)
        except libvirt.libvirtError as error:
            if error.get_error_code() not in _ANOTHER_POOL:
                raise
    kept[name] = pool = storage_pool(connection, name)
    return do(pool)


_ANOTHER_POOL: Final = (libvirt.VIR_ERR_NO_STORAGE_POOL, libvirt.VIR_ERR_OPERATION_INVALID)


def path_of(volume: libvirt.virStorageVol) -> str:
    """Return the path of *volume* on its host, without a message where its key is one.

    It is in the storage pools that have files (libvirt, ``storage_util.c``).
    """
    key = str(volume.key())
    return key if key.startswith("/") else str(volume.path())


def storage_pool(connection: libvirt.virConnect, name: str) -> libvirt.virStoragePool:
    """Return the active storage pool called *name*.

    :raises ConfigurationError: if the host has no such pool, or has it and it is not active.
    """
    try:
        pool = connection.storagePoolLookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_POOL:
            raise
        raise _no_such_pool(connection, name) from None
    if not pool.isActive():
        raise ConfigurationError(
            f"storage pool {name!r} of {connection.getURI()} is not active",
            resolution="Start it:"
            + advice.listed(advice.virsh(connection.getURI(), "pool-start", name)),
        )
    return pool


def _no_such_pool(connection: libvirt.virConnect, name: str) -> ConfigurationError:
    there, uri = listed(connection.listAllStoragePools()), connection.getURI()
    return ConfigurationError(
        f"{uri} has no storage pool {name!r}",
        details=f"Its storage pools: {there}.",
        resolution="Name one of them as the host's storage_pool, or make it:"
        + advice.listed(
            advice.virsh(uri, "pool-define-as", name, "dir", "--target", "DIRECTORY"),
            *(advice.virsh(uri, f"pool-{verb}", name) for verb in ("build", "start", "autostart")),
        ),
    )


def refresh(pool: libvirt.virStoragePool) -> None:
    """Let libvirt look what the pool really holds, unless something is just being made there.

    Then its list stays what it is: nothing is missing in it that was made through libvirt.
    """
    try:
        pool.refresh(0)
    except libvirt.libvirtError as error:
        # "storage pool has asynchronous jobs running" has no separate code.
        if error.get_error_code() != libvirt.VIR_ERR_INTERNAL_ERROR:
            raise


def changed_at(volume: libvirt.virStorageVol) -> float:
    """Return when a volume was written last, in seconds since the epoch; 0 if nobody knows."""
    xml = xml_of(volume)
    text = "" if xml is None else xml.findtext("target/timestamps/mtime") or ""
    return float(text) if _SECONDS.fullmatch(text) else 0.0


_SECONDS: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?")


@dataclass(frozen=True)
class Backing:
    """A volume that overlays can be based on.

    :param path: on the host.
    :param capacity: virtual size in bytes.
    """

    path: str
    capacity: int

    @classmethod
    def of(cls, volume: libvirt.virStorageVol) -> Backing:
        """Return what overlays need to know of *volume*."""
        return cls(path_of(volume), int(volume.info()[1]))


def create_overlay(
    pool: libvirt.virStoragePool,
    name: OwnedVolume | str,
    *,
    base: libvirt.virStorageVol | Backing,
    capacity: int | None,
) -> str:
    """Create the overlay *name* on top of *base*; return its path on the host.

    :param capacity: virtual size in bytes, ``None`` for the base's own. It is never less than that.
    """
    backing = base if isinstance(base, Backing) else Backing.of(base)
    file = name if isinstance(name, str) else name.disk
    xml = overlay_xml(
        file, capacity=max(capacity or 0, backing.capacity), backing_path=backing.path
    )
    return path_of(pool.createXML(xml, 0))


def create_empty(pool: libvirt.virStoragePool, name: OwnedVolume, *, capacity: int) -> str:
    """Create the empty disk *name*, of *capacity* bytes; return its path on the host."""
    xml = overlay_xml(name.disk, capacity=capacity, backing_path=None)
    return path_of(pool.createXML(xml, 0))


def try_volume(connection: libvirt.virConnect, pool_name: str, name: str) -> None:
    """Create a small volume and delete it, to see that this is allowed."""
    pool = storage_pool(connection, pool_name)
    capacity = E.capacity("1", unit="MiB")
    volume = E.volume(E.name(name), capacity, qcow2_target())
    pool.createXML(etree.tostring(volume, encoding="unicode"))
    delete_volume(pool, name)


def delete_volume(pool: libvirt.virStoragePool, name: str) -> bool:
    """Delete the volume *name*; return whether there was one."""
    try:
        pool.storageVolLookupByName(name).delete(0)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
            raise
        return False
    return True


def delete_owned(pool: libvirt.virStoragePool, volume: OwnedVolume) -> None:
    """Delete all that there is of an overlay or of a saved state."""
    for name in volume.files:
        delete_volume(pool, name)


def delete_all(pool: libvirt.virStoragePool, volumes: Iterable[OwnedVolume]) -> None:
    """Delete all that there is of each of *volumes*."""
    for volume in volumes:
        delete_owned(pool, volume)


def owned_volumes(pool: libvirt.virStoragePool) -> tuple[OwnedVolume, ...]:
    """Return the overlays and the saved states, or what there is of them, in the pool.

    Those of all owners, and new to libvirt or not, unless somebody's volume is being made: then
    libvirt refuses to look, and knows of those that were made through it.
    """
    refresh(pool)
    names = (name for name, _ in named(pool.listAllVolumes()))
    return tuple(dict.fromkeys(filter(None, map(OwnedVolume.parse, names))))


def xml_of(volume: libvirt.virStorageVol) -> etree._Element | None:
    """Return what libvirt says of a volume; ``None`` if it is gone, or that cannot be read."""
    try:
        return parsed(volume.XMLDesc(), "a volume")
    except (UnicodeDecodeError, HostError):
        return None
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
            raise
        return None
