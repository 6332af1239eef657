# SPDX-License-Identifier: GPL-2.0-only
"""What a host really holds, and what of it belongs to nobody alive.

A survey lists; deciding and freeing are separate steps, so that what the pool did in the meantime
counts. Only what belongs to exactly this owner and to no live lease is ever freed.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import libvirt
from lxml import etree

from latent_libvirt.host import domains, storage
from latent_libvirt.host.domains import SlotDomain
from latent_libvirt.host.names import OverlayName, Owner


@dataclass(frozen=True)
class Survey:
    """What a host held at one moment: all domains of slots and all overlays, of all owners."""

    host_uuid: str
    domains: tuple[SlotDomain, ...]
    overlays: tuple[OverlayName, ...]

    def leases(self) -> frozenset[str]:
        """Return the leases whose domain was running."""
        return frozenset(d.record.lease for d in self.domains if d.record is not None)

    def pools(self) -> frozenset[str]:
        """Return the names of all pools that any domain says it belongs to."""
        return frozenset(d.record.pool for d in self.domains if d.record is not None)

    def meant_to_stay(self, owner: Owner) -> tuple[SlotDomain, ...]:
        """Return the domains of *owner* that are to outlive its process."""
        return tuple(
            domain
            for domain in self.domains
            if domain.record is not None
            and domain.record.owner_id == owner.id
            and domain.record.state in ("spare", "held")
        )

    def left_behind(self, owners: Collection[str], live: Collection[str]) -> Leftovers:
        """Return what belongs to one of *owners*, by id, but to none of the *live* leases."""
        return Leftovers(
            tuple(
                domain
                for domain in self.domains
                if domain.record is not None
                and domain.record.owner_id in owners
                and domain.record.lease not in live
            ),
            tuple(
                overlay
                for overlay in self.overlays
                if overlay.owner_id in owners and overlay.lease not in live
            ),
        )


@dataclass(frozen=True)
class Leftovers:
    """What a sweep has to free."""

    domains: tuple[SlotDomain, ...]
    overlays: tuple[OverlayName, ...]

    def __bool__(self) -> bool:
        return bool(self.domains or self.overlays)

    def in_words(self) -> tuple[str, ...]:
        """Return each thing in words, in the order in which they are freed."""
        slots = [f"domain of slot {domain.slot}" for domain in self.domains]
        return (*slots, *(f"overlay {overlay}" for overlay in self.overlays))

    def __str__(self) -> str:
        return ", ".join(self.in_words())


def survey(connection: libvirt.virConnect, storage_pool: str) -> Survey:
    """Return what the host holds now. Blocks.

    :raises ConfigurationError: if the host has no such storage pool.
    """
    pool = storage.storage_pool(connection, storage_pool)
    overlays = tuple(storage.overlays(pool))
    return Survey(_host_uuid(connection), tuple(domains.slot_domains(connection)), overlays)


def free(connection: libvirt.virConnect, storage_pool: str, leftovers: Leftovers) -> None:
    """Destroy and delete *leftovers*. Blocks."""
    for domain in leftovers.domains:
        assert domain.record is not None
        domains.destroy_domain(connection, domain.uuid, lease=domain.record.lease)
    pool = storage.storage_pool(connection, storage_pool)
    for overlay in leftovers.overlays:
        storage.delete_volume(pool, str(overlay))


def _host_uuid(connection: libvirt.virConnect) -> str:
    """Return the host's UUID; drivers that know none (``test:///``) are told apart by host name."""
    uuid = etree.fromstring(connection.getCapabilities()).findtext("host/uuid")
    return str(uuid or connection.getHostname())
