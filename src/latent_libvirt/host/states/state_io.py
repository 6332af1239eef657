# SPDX-License-Identifier: GPL-2.0-only
"""Saving a VM that waits, and restoring it: libvirt's documented calls, on hosts near and far.

A saved state is two volumes of the host's storage pool: the disk as it was at that moment, and
the file that libvirt saves the memory to. A VM with more disks has one more volume for each. The
file of the memory says of itself whether it was finished, so there is no other one that says so.
All functions block, and let libvirt's own errors pass.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import libvirt
from lxml import etree
from lxml.builder import E
from twisted.logger import Logger

from latent_libvirt.errors import HostError
from latent_libvirt.host.domains.domain_xml import (
    restored_xml,
    saved_record,
)
from latent_libvirt.host.libvirtd.answers import parsed
from latent_libvirt.host.names import OwnedVolume
from latent_libvirt.host.states.saved_states import (
    FINGERPRINT_DIGITS,
    SavedState,
)
from latent_libvirt.host.volumes import storage

if TYPE_CHECKING:
    from latent_libvirt.host.domains.domain_xml import (
        VmRecord,
    )

log = Logger()


def fingerprint(connection: libvirt.virConnect) -> str:
    """Return what changes when a host may not understand any more what it has saved.

    That is the version of its QEMU, and its processor. What of the latter is measured again at each
    boot (the frequency of its clock) does not count.
    """
    capabilities = parsed(connection.getCapabilities(), "its capabilities")
    cpu = capabilities.find("host/cpu")
    parts = [str(_version(connection))]
    for tag in ("arch", "model", "vendor", "microcode", "signature", "feature"):
        found = [] if cpu is None else cpu.findall(tag)
        parts += sorted(f"{tag} {dict(each.attrib)} {each.text}" for each in found)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:FINGERPRINT_DIGITS]


def _version(connection: libvirt.virConnect) -> int:
    try:
        return int(connection.getVersion())
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
            raise
        return 0


def save(pool: libvirt.virStoragePool, domain: libvirt.virDomain, name: OwnedVolume) -> SavedState:
    """Save *domain*, whose disk is the one of *name*; it runs no longer.

    If libvirt cannot do that, the domain runs on, and its memory is nowhere but in it.

    :raises HostError: if what was saved is not there.
    """
    save_memory(pool, domain, name)
    state = read(pool, name)
    if state is None:
        raise HostError(f"{name.state} is not what was saved there")
    return state


def save_memory(
    pool: libvirt.virStoragePool, domain: libvirt.virDomain, name: OwnedVolume, *, flags: int = 0
) -> None:
    """Save the memory of *domain* as that of *name*, or leave no volume.

    :param flags: of libvirt's ``virDomainSaveFlags``.
    """
    volume = _new_state(pool, name)
    try:
        # What libvirt finds there it writes over; it was made before for its mode and its name.
        domain.saveFlags(storage.path_of(volume), None, flags)
    except BaseException:
        storage.delete_volume(pool, name.state)
        raise


def _new_state(pool: libvirt.virStoragePool, name: OwnedVolume) -> libvirt.virStorageVol:
    """Create the file that libvirt is to save a memory to: for its mode, and its name."""
    element = E.volume(
        E.name(name.state),
        E.capacity("0", unit="bytes"),
        E.target(E.format(type="raw"), E.permissions(E.mode("0600"))),
    )
    return pool.createXML(etree.tostring(element, encoding="unicode"), 0)


def read(pool: libvirt.virStoragePool, name: OwnedVolume) -> SavedState | None:
    """Return the state of that name; ``None`` if it is not whole, or not one of ours."""
    try:
        state = pool.storageVolLookupByName(name.state)
        path = storage.path_of(state)
        xml = pool.connect().saveImageGetXMLDesc(path, 0)
        more = _more_disks(xml, name)
        disks = [pool.storageVolLookupByName(each.disk) for each in (name, *more)]
        infos = [disk.info() for disk in disks]
        size = sum(int(info[2]) for info in (state.info(), *infos))
    except libvirt.libvirtError as error:
        if error.get_error_code() not in _NOT_WHOLE or not pool.connect().isAlive():
            raise
        return None
    except UnicodeDecodeError:
        return None
    record = saved_record(xml)
    if record is None:
        return None
    backings = tuple(
        storage.Backing(storage.path_of(disk), int(info[1]))
        for disk, info in zip(disks, infos, strict=True)
    )
    return SavedState(name, record, xml, path, size, more, backings)


def _more_disks(xml: str, name: OwnedVolume) -> tuple[OwnedVolume, ...]:
    """Return the disks beside the first one that were made for the VM that was saved as *name*."""
    sources = parsed(xml, "a saved state").findall("devices/disk/source")
    found = (OwnedVolume.parse(PurePosixPath(each.get("file", "")).name) for each in sources)
    return tuple(each for each in found if each and each.number and each.of_disk(0) == name)


_NOT_WHOLE = (
    libvirt.VIR_ERR_NO_STORAGE_VOL,
    libvirt.VIR_ERR_OPERATION_FAILED,  # "not a save image", "save image is incomplete"
    libvirt.VIR_ERR_INTERNAL_ERROR,
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
    libvirt.VIR_ERR_XML_ERROR,
    libvirt.VIR_ERR_SYSTEM_ERROR,
)


def read_all(
    connection: libvirt.virConnect, storage_pool: str, names: Iterable[OwnedVolume]
) -> list[SavedState]:
    """Return those of *names* that are whole.

    One that cannot be read hides no other, as long as its host answers. It is of no use, as if it
    were not whole.
    """
    pool = storage.storage_pool(connection, storage_pool)
    found = (_read_if_possible(pool, name) for name in names)
    return [state for state in found if state is not None]


def _read_if_possible(pool: libvirt.virStoragePool, name: OwnedVolume) -> SavedState | None:
    try:
        return read(pool, name)
    except Exception as error:
        if not pool.connect().isAlive():
            raise
        why = str(error) or repr(error)
        log.warn("{name} cannot be read: {error}", name=name.state, error=why)
        return None


def restore(
    connection: libvirt.virConnect,
    state: SavedState,
    *,
    disks: Mapping[int, str],
    record: VmRecord,
) -> libvirt.virDomain:
    """Restore *state* on the overlays *disks*, by their numbers; return the domain, paused."""
    xml = restored_xml(state.xml, disks=disks, record=record)
    connection.restoreFlags(state.path, xml, libvirt.VIR_DOMAIN_SAVE_PAUSED)
    return connection.lookupByName(parsed(state.xml, "a saved state").findtext("name"))


def delete(connection: libvirt.virConnect, storage_pool: str, names: Iterable[OwnedVolume]) -> None:
    """Delete saved states; of each the memory first, without which the rest is none."""
    pool = storage.storage_pool(connection, storage_pool)
    for name in names:
        storage.delete_owned(pool, name)
