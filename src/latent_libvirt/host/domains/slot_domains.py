# SPDX-License-Identifier: GPL-2.0-only
"""The domains of slots as libvirt has them: whose they are, and the end of them.

All functions block; the connection runs them in its threads.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

import libvirt

from latent_libvirt import advice
from latent_libvirt.config.units import KIB
from latent_libvirt.host import names
from latent_libvirt.host.domains.domain_xml import (
    METADATA_NAMESPACE,
    METADATA_PREFIX,
    record_of,
    record_xml,
)
from latent_libvirt.host.libvirtd.answers import (
    name_of,
    printable,
)

if TYPE_CHECKING:
    from latent_libvirt.host.domains.domain_xml import (
        VmRecord,
    )


@dataclass(frozen=True)
class SlotDomain:
    """A domain that occupies a slot.

    :param record: ``None`` if it has the name of a slot's domain but no record of ours.
    :param name: the domain's; empty for that of the slot.
    :param active: whether it runs. One that is only defined keeps its slot as well: libvirt starts
        no other domain of that name or UUID. It was never ours, since ours are transient.
    :param is_being_saved: whether libvirt saves it at this moment, to be frozen.
    :param vcpus: of one that is held, whatever its label says by now; 0 if nobody has asked.
    :param memory: bytes of it, likewise.
    :param uri: of the host, for the command that frees the slot.
    """

    slot: int
    uuid: str
    record: VmRecord | None
    name: str = ""
    active: bool = True
    is_being_saved: bool = False
    vcpus: int = 0
    memory: int = 0
    uri: str = ""

    def __str__(self) -> str:
        """Return whose it is, and how its slot is freed if it is nobody's."""
        name = printable(self.name) or names.domain_name(self.slot)
        if self.record is not None:
            who = self.record.worker or self.record.state
            return f"domain {name}: {printable(f'{who} of {self.record.master}')}"
        if self.active:
            return f"domain {name} is not ours"
        frees = advice.virsh(self.uri, "undefine", name)
        return f"domain {name} is defined there, and not ours; what frees it: {frees}"


def slot_domains(connection: libvirt.virConnect, host_uuid: str | None = None) -> list[SlotDomain]:
    """Return all domains that occupy a slot, of all owners, also those that do not run.

    :param host_uuid: the host's, to see also who has the UUID of a slot's domain.
    """
    uuids = {} if host_uuid is None else _slots_by_uuid(host_uuid)
    found = []
    for domain in connection.listAllDomains():
        name, uuid = name_of(domain) or "", domain.UUIDString()
        slot = names.slot_of(name) or uuids.get(uuid)
        if slot is not None:
            with suppress(_GoneError):
                found.append(_slot_domain(domain, slot, name))
    return found


@cache
def _slots_by_uuid(host_uuid: str) -> dict[str, int]:
    return {names.slot_uuid(host_uuid, slot): slot for slot in range(1, _SLOTS_WITH_UUIDS + 1)}


_SLOTS_WITH_UUIDS: Final = 256
"""How many slots of a host are looked for by the UUIDs of their domains, too."""


class _GoneError(Exception):
    """A domain has ended since it was listed."""


def _slot_domain(domain: libvirt.virDomain, slot: int, name: str) -> SlotDomain:
    try:
        active = bool(domain.isActive())
        if not active and not domain.isPersistent():
            raise _GoneError
        record = _record_that_is_there(domain) if active else None
        is_being_saved = record is not None and record.state == "freezing" and _has_job(domain)
        vcpus, memory = _size(domain) if record is not None and _is_kept(record) else (0, 0)
        uri = "" if active else domain.connect().getURI()
    except libvirt.libvirtError as error:
        if error.get_error_code() not in _GONE_ALREADY:
            raise
        raise _GoneError from error
    return SlotDomain(
        slot, domain.UUIDString(), record, name, active, is_being_saved, vcpus, memory, uri
    )


def _is_kept(record: VmRecord) -> bool:
    """Whether a VM may have to be held by a master that knows nothing else of it."""
    return record.state in ("held", "freezing") or record.is_to_be_held


def _size(domain: libvirt.virDomain) -> tuple[int, int]:
    """Return the vCPUs and the bytes of memory of *domain*."""
    _state, most_memory, _memory, vcpus, _time = domain.info()
    return int(vcpus), int(most_memory) * KIB


def _has_job(domain: libvirt.virDomain) -> bool:
    """Whether libvirt does something with *domain* that takes long, such as saving it."""
    return bool(domain.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE)


def was_in_the_way(error: libvirt.libvirtError) -> bool:
    """Tell whether a domain of the same name or UUID has kept one from starting.

    It may be gone by now. The codes of these errors stand for much else (``virdomainobjlist.c``).
    """
    return _IN_THE_WAY.search(error.get_error_message() or "") is not None


_IN_THE_WAY: Final = re.compile(
    r"domain '.*' (is already (active|being started|being removed|defined with uuid)"
    r"|already exists with uuid)"
)


def vm_record(domain: libvirt.virDomain) -> VmRecord | None:
    """Return what the domain's metadata says of its VM; ``None`` if it has none or is gone."""
    try:
        return _record_that_is_there(domain)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
        return None


def _record_that_is_there(domain: libvirt.virDomain) -> VmRecord | None:
    """Return what the metadata of a domain says of its VM; ``None`` if it says nothing.

    :raises libvirt.libvirtError: if the domain is gone, or nobody knows.
    """
    try:
        xml = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, METADATA_NAMESPACE, 0)
    except UnicodeDecodeError:
        return None
    except libvirt.libvirtError as error:
        if error.get_error_code() not in _SAYS_NOTHING:
            raise
        return None
    return record_of(xml)


# libvirt's access rules may hide what strangers' domains say. They hide nothing of ours.
_SAYS_NOTHING: Final = (libvirt.VIR_ERR_NO_DOMAIN_METADATA, libvirt.VIR_ERR_ACCESS_DENIED)


def set_record(domain: libvirt.virDomain, record: VmRecord) -> None:
    """Let the metadata and the title of a running domain say *record* from now on."""
    element, live = libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt.VIR_DOMAIN_AFFECT_LIVE
    domain.setMetadata(element, record_xml(record), METADATA_PREFIX, METADATA_NAMESPACE, live)
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_TITLE, record.title, None, None, live)


def find_domain(
    connection: libvirt.virConnect, name: str, *, vm_id: str
) -> libvirt.virDomain | None:
    """Return the domain of that name if it is that VM's: a slot's name outlives VMs.

    Its UUID says less: a VM that was frozen on another host has one of that host's.
    """
    try:
        domain = connection.lookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
        return None
    record = vm_record(domain)
    return domain if record is not None and record.vm_id == vm_id else None


def destroy_domain(connection: libvirt.virConnect, name: str, *, vm_id: str) -> bool:
    """Destroy the domain of that name if it is that VM's; return whether there was one."""
    domain = find_domain(connection, name, vm_id=vm_id)
    if domain is None:
        return False
    try:
        domain.destroy()
    except libvirt.libvirtError as error:
        if error.get_error_code() not in _GONE_ALREADY:
            raise
    return True


_GONE_ALREADY = (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID)
