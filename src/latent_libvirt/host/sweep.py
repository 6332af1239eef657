# SPDX-License-Identifier: GPL-2.0-only
"""Domains and volumes that a host really holds, and those of them that belong to nobody alive.

A survey lists; deciding and freeing are separate steps, so that what the pool did in the meantime
counts. Only what belongs to exactly this owner and to no live VM is ever freed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, ParamSpec

import libvirt

from latent_libvirt.host.domains import slot_domains
from latent_libvirt.host.libvirtd.answers import parsed
from latent_libvirt.host.names import domain_name
from latent_libvirt.host.states import state_io
from latent_libvirt.host.volumes import storage

if TYPE_CHECKING:
    from latent_libvirt.host.domains.slot_domains import SlotDomain
    from latent_libvirt.host.names import Kind, OwnedVolume, Owner

P = ParamSpec("P")


@dataclass(frozen=True)
class Survey:
    """What a host held at one moment: domains of slots, overlays, saved states; of all owners.

    :param fingerprint: see :func:`~latent_libvirt.host.states.state_io.fingerprint`.
    """

    host_uuid: str
    domains: tuple[SlotDomain, ...]
    volumes: tuple[OwnedVolume, ...]
    fingerprint: str = ""

    @property
    def saved(self) -> tuple[OwnedVolume, ...]:
        """The saved states, each once."""
        return tuple(each for each in self.volumes if each.kind == "saved" and not each.number)

    @property
    def frozen(self) -> tuple[OwnedVolume, ...]:
        """The memories of frozen VMs, whole or not."""
        return tuple(volume for volume in self.volumes if volume.kind == "frozen")

    def vm_ids(self) -> frozenset[str]:
        """Return the ids of the VMs whose domain was running."""
        return frozenset(d.record.vm_id for d in self.domains if d.record is not None)

    def has_others_than(self, owner: Owner) -> bool:
        """Whether anything here belongs to another owner, alive or not."""
        owners = {d.record.owner_id for d in self.domains if d.record is not None}
        owners.update(volume.owner_id for volume in self.volumes)
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
            and not domain.is_being_saved
        )

    def left_behind(
        self,
        owners: Collection[str],
        live: Collection[str],
        resumable: Collection[str] = (),
        frozen: Collection[str] = (),
    ) -> Leftovers:
        """Return what belongs to one of *owners*, by id, but to none of the *live* VMs.

        :param resumable: the ids of saved states that are to stay. Those below a domain that
            stays do so anyway, and so does what a live VM is about to save.
        :param frozen: the ids of VMs whose frozen memory is to stay, with their disks. Those that
            libvirt saves at this moment stay anyway.
        """
        domains = [domain for domain in self.domains if _is_left(domain, owners, live)]
        below = {
            domain.record.saved
            for domain in self.domains
            if domain.record is not None and domain not in domains
        }
        saving = {d.record.vm_id for d in self.domains if d.record and d.is_being_saved}
        # There may be many more live VMs than volumes: they are not copied.
        kept: dict[Kind, tuple[Collection[str], ...]] = {
            "overlay": (live, frozen, saving),
            "saved": (live, {*resumable, *below}),
            "frozen": (frozen, saving),
        }
        volumes = (
            volume
            for volume in self.volumes
            if volume.owner_id in owners
            and not any(volume.vm_id in there for there in kept[volume.kind])
        )
        return Leftovers(tuple(domains), tuple(volumes))

    def jobs_of(self, owners: Collection[str]) -> Leftovers:
        """Return what serves jobs of *owners*, by id, and no other life of their masters'."""
        domains = [
            domain
            for domain in self.domains
            if _is_left(domain, owners, live=()) and not _has_no_job(domain)
        ]
        vm_ids = {domain.record.vm_id for domain in domains if domain.record is not None}
        overlays = (v for v in self.volumes if v.kind == "overlay" and v.vm_id in vm_ids)
        return Leftovers(tuple(domains), tuple(overlays))


def _is_to_stay(domain: SlotDomain) -> bool:
    """Whether the next master of the same owner may want it."""
    return _has_no_job(domain) or (domain.record is not None and domain.record.is_to_be_held)


def _has_no_job(domain: SlotDomain) -> bool:
    return domain.record is not None and domain.record.state in ("spare", "held", "freezing")


def _is_left(domain: SlotDomain, owners: Collection[str], live: Collection[str]) -> bool:
    record = domain.record
    if record is None or record.owner_id not in owners or record.vm_id in live:
        return False
    return not domain.is_being_saved


_WORDS: Final[Mapping[Kind, str]] = {
    "overlay": "overlay",
    "saved": "saved state",
    "frozen": "frozen memory",
}


@dataclass(frozen=True)
class Leftovers:
    """What a sweep has to free."""

    domains: tuple[SlotDomain, ...]
    volumes: tuple[OwnedVolume, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.domains or self.volumes)

    def __or__(self, other: Leftovers) -> Leftovers:
        """Return what is in either, once."""
        return Leftovers(
            tuple(dict.fromkeys(self.domains + other.domains)),
            tuple(dict.fromkeys(self.volumes + other.volumes)),
        )

    def counts(self) -> Counter[Kind]:
        """Return how many there are of each kind."""
        return Counter({"domain": len(self.domains), **Counter(v.kind for v in self.volumes)})

    def in_words(self) -> tuple[str, ...]:
        """Return each thing in words, in the order in which they are freed."""
        slots = [f"domain of slot {domain.slot}" for domain in self.domains]
        return (*slots, *(f"{_WORDS[volume.kind]} {volume}" for volume in self.volumes))

    def __str__(self) -> str:
        return ", ".join(self.in_words())


def survey(connection: libvirt.virConnect, storage_pool: str) -> Survey:
    """Return what the host holds now. Blocks.

    :raises ConfigurationError: if the host has no such storage pool.
    """
    pool = storage.storage_pool(connection, storage_pool)
    host_uuid = host_uuid_of(connection)
    return Survey(
        host_uuid=host_uuid,
        domains=tuple(slot_domains.slot_domains(connection, host_uuid)),
        volumes=storage.owned_volumes(pool),
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
    volumes_left = [v for v in leftovers.volumes if _fails(whys, storage.delete_owned, pool, v)]
    things = Leftovers(tuple(domains_left), tuple(volumes_left))
    return Stuck(things, whys[0] if whys else "")


def _destroy(connection: libvirt.virConnect, domain: SlotDomain) -> None:
    assert domain.record is not None
    name = domain.name or domain_name(domain.slot)
    slot_domains.destroy_domain(connection, name, vm_id=domain.record.vm_id)


def _fails(whys: list[str], do: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> bool:
    """Do it; return whether that has failed, and add why to *whys*."""
    try:
        do(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 - whatever a host says of one keeps nothing else
        whys.append(str(error) or repr(error))
        return True
    return False


def host_uuid_of(connection: libvirt.virConnect) -> str:
    """Return the host's UUID; for drivers without one (``test:///``), by the host name."""
    uuid = parsed(connection.getCapabilities(), "its capabilities").findtext("host/uuid")
    return str(uuid or connection.getHostname())
