# SPDX-License-Identifier: GPL-2.0-only
"""The domains of slots as libvirt has them: whose they are, and the end of them.

All functions block; the connection runs them in its threads.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import libvirt

from latent_libvirt.host import names
from latent_libvirt.host.domain_xml import (
    METADATA_NAMESPACE,
    METADATA_PREFIX,
    LeaseRecord,
    record_of,
    record_xml,
)


@dataclass(frozen=True)
class SlotDomain:
    """A domain that occupies a slot.

    :param record: ``None`` if it has the name of a slot's domain but no record of ours.
    """

    slot: int
    uuid: str
    record: LeaseRecord | None


def slot_domains(connection: libvirt.virConnect) -> list[SlotDomain]:
    """Return all active domains that occupy a slot, whoever owns them."""
    found = []
    for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
        slot = names.slot_of(domain.name())
        if slot is not None:
            found.append(SlotDomain(slot, domain.UUIDString(), lease_record(domain)))
    return found


def was_in_the_way(error: libvirt.libvirtError) -> bool:
    """Tell whether a domain of the same name or UUID has kept one from starting.

    It may be gone by now. The codes of these errors stand for much else (``virdomainobjlist.c``).
    """
    return _IN_THE_WAY.search(error.get_error_message() or "") is not None


_IN_THE_WAY: Final = re.compile(r"domain '.*' is already (active|being started|being removed)")


def lease_record(domain: libvirt.virDomain) -> LeaseRecord | None:
    """Return what the domain's metadata says of its lease; ``None`` if it has none or is gone."""
    try:
        xml = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, METADATA_NAMESPACE, 0)
    except libvirt.libvirtError:
        return None
    return record_of(xml)


def set_record(domain: libvirt.virDomain, record: LeaseRecord) -> None:
    """Let the metadata and the title of a running domain say *record* from now on."""
    element, live = libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt.VIR_DOMAIN_AFFECT_LIVE
    domain.setMetadata(element, record_xml(record), METADATA_PREFIX, METADATA_NAMESPACE, live)
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_TITLE, record.title, None, None, live)


def find_domain(
    connection: libvirt.virConnect, uuid: str, *, lease: str
) -> libvirt.virDomain | None:
    """Return the domain with that UUID if it is that *lease*'s: a slot's UUID outlives leases."""
    try:
        domain = connection.lookupByUUIDString(uuid)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
        return None
    record = lease_record(domain)
    return domain if record is not None and record.lease == lease else None


def destroy_domain(connection: libvirt.virConnect, uuid: str, *, lease: str) -> bool:
    """Destroy the domain with that UUID if it belongs to *lease*; return whether there was one."""
    domain = find_domain(connection, uuid, lease=lease)
    if domain is None:
        return False
    try:
        domain.destroy()
    except libvirt.libvirtError as error:
        if error.get_error_code() not in _GONE_ALREADY:
            raise
    return True


_GONE_ALREADY = (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID)
