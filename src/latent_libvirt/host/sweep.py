# SPDX-License-Identifier: GPL-2.0-only
"""What a host really holds, and what of it belongs to nobody alive.

A survey lists; deciding and freeing are separate steps, so that what the pool did in the meantime
counts. Only what belongs to exactly this owner and to no live lease is ever freed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, ParamSpec

import libvirt

from latent_libvirt.host.domains import slot_domains
from latent_libvirt.host.libvirtd.answers import parsed
from latent_libvirt.host.states import state_io
from latent_libvirt.host.volumes import storage

if TYPE_CHECKING:
    from latent_libvirt.host.domains.slot_domains import SlotDomain
    from latent_libvirt.host.names import OverlayName, Owner, SavedStateName

P = ParamSpec("P")


@dataclass(frozen=True)
class Survey:
    """What a host held at one moment: domains of slots, overlays, saved states; of all owners.

    :param fingerprint: see :func:`~latent_libvirt.host.states.state_io.fingerprint`.
    """

    host_uuid: str
    domains: tuple[SlotDomain, ...]
    overlays: tuple[OverlayName, ...]
    saved: tuple[SavedStateName, ...] = ()
    fingerprint: str = ""

    def leases(self) -> frozenset[str]:
        """Return the leases whose domain was running."""
        return frozenset(d.record.lease for d in self.domains if d.record is not None)

    def has_others_than(self, owner: Owner) -> bool:
        """Whether anything here belongs to another owner, alive or not."""
        owners = {d.record.owner_id for d in self.domains if d.record is not None}
        owners.update(overlay.owner_id for overlay in self.overlays)
        owners.update(name.owner_id for name in self.saved)
        return not owners <= {owner.id}

    def pools(self) -> frozenset[str]:
        """Return the names of all pools that any domain says it belongs to."""
        return frozenset(d.record.pool for d in self.domains if d.record is not None)

    def meant_to_stay(self, owner: Owner) -> tuple[SlotDomain, ...]:
        """Return the domains of *owner* that are to outlive its process."""
        return tuple(
            domain
            for domain in self.domains
            if _is_to_stay(domain)
            and domain.record is not None
            and domain.record.owner_id == owner.id
        )

    def left_behind(
        self, owners: Collection[str], live: Collection[str], resumable: Collection[str] = ()
    ) -> Leftovers:
        """Return what belongs to one of *owners*, by id, but to none of the *live* leases.

        :param resumable: the leases of saved states that are to stay. Those below a domain that
            stays do so anyway, and so does what a live lease is about to save.
        """
        domains = [domain for domain in self.domains if _is_left(domain, owners, live)]
        below = {
            domain.record.saved
            for domain in self.domains
            if domain.record is not None and domain not in domains
        }
        return Leftovers(
            tuple(domains),
            tuple(
                overlay
                for overlay in self.overlays
                if overlay.owner_id in owners and overlay.lease not in live
            ),
            tuple(
                name
                for name in self.saved
                if name.owner_id in owners and name.lease not in {*live, *resumable, *below}
            ),
        )

    def jobs_of(self, owners: Collection[str]) -> Leftovers:
        """Return what serves jobs of *owners*, by id, and no other life of their masters'."""
        domains = [
            domain
            for domain in self.domains
            if _is_left(domain, owners, live=()) and not _is_to_stay(domain)
        ]
        leases = {domain.record.lease for domain in domains if domain.record is not None}
        return Leftovers(tuple(domains), tuple(o for o in self.overlays if o.lease in leases))


def _is_to_stay(domain: SlotDomain) -> bool:
    return domain.record is not None and domain.record.state in ("spare", "held")


def _is_left(domain: SlotDomain, owners: Collection[str], live: Collection[str]) -> bool:
    record = domain.record
    return record is not None and record.owner_id in owners and record.lease not in live


@dataclass(frozen=True)
class Leftovers:
    """What a sweep has to free."""

    domains: tuple[SlotDomain, ...]
    overlays: tuple[OverlayName, ...]
    saved: tuple[SavedStateName, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.domains or self.overlays or self.saved)

    def __or__(self, other: Leftovers) -> Leftovers:
        """Return what is in either, once."""
        return Leftovers(
            tuple(dict.fromkeys(self.domains + other.domains)),
            tuple(dict.fromkeys(self.overlays + other.overlays)),
            tuple(dict.fromkeys(self.saved + other.saved)),
        )

    def in_words(self) -> tuple[str, ...]:
        """Return each thing in words, in the order in which they are freed."""
        slots = [f"domain of slot {domain.slot}" for domain in self.domains]
        overlays = [f"overlay {overlay}" for overlay in self.overlays]
        return (*slots, *overlays, *(f"saved state {name}" for name in self.saved))

    def __str__(self) -> str:
        return ", ".join(self.in_words())


def survey(connection: libvirt.virConnect, storage_pool: str) -> Survey:
    """Return what the host holds now. Blocks.

    :raises ConfigurationError: if the host has no such storage pool.
    """
    pool = storage.storage_pool(connection, storage_pool)
    overlays, saved = storage.owned_volumes(pool)
    host_uuid = host_uuid_of(connection)
    return Survey(
        host_uuid=host_uuid,
        domains=tuple(slot_domains.slot_domains(connection, host_uuid)),
        overlays=tuple(overlays),
        saved=tuple(saved),
        fingerprint=state_io.fingerprint(connection),
    )


@dataclass(frozen=True)
class Stuck:
    """What could not be freed, and what libvirt said of the first of it."""

    things: Leftovers
    why: str

    def __bool__(self) -> bool:
        return bool(self.things)

    def __str__(self) -> str:
        return f"{self.things} could not be freed: {self.why}"


def free(connection: libvirt.virConnect, storage_pool: str, leftovers: Leftovers) -> Stuck:
    """Destroy and delete *leftovers*; return what has stayed. Blocks.

    One that stays, such as the domain of a QEMU that hangs on its disk, keeps nothing else.
    """
    whys: list[str] = []
    domains_left = [d for d in leftovers.domains if _fails(whys, _destroy, connection, d)]
    pool = storage.storage_pool(connection, storage_pool)
    overlays = [o for o in leftovers.overlays if _fails(whys, storage.delete_volume, pool, str(o))]
    saved = [
        name
        for name in leftovers.saved
        if _fails(whys, state_io.delete, connection, storage_pool, [name])
    ]
    things = Leftovers(tuple(domains_left), tuple(overlays), tuple(saved))
    return Stuck(things, whys[0] if whys else "")


def _destroy(connection: libvirt.virConnect, domain: SlotDomain) -> None:
    assert domain.record is not None
    slot_domains.destroy_domain(connection, domain.uuid, lease=domain.record.lease)


def _fails(whys: list[str], do: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> bool:
    """Do it; return whether libvirt has refused, and add what it said to *whys*."""
    try:
        do(*args, **kwargs)
    except libvirt.libvirtError as error:
        whys.append(str(error))
        return True
    return False


def host_uuid_of(connection: libvirt.virConnect) -> str:
    """Return the host's UUID; drivers that know none (``test:///``) are told apart by host name."""
    uuid = parsed(connection.getCapabilities(), "its capabilities").findtext("host/uuid")
    return str(uuid or connection.getHostname())
