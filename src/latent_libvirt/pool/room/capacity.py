# SPDX-License-Identifier: GPL-2.0-only
"""Capacity of a pool, where room for VMs is taken and given back.

A VM may start if there is room within all caps: the master's, its label's, its host's slots, the
vCPUs and the memory that its host may give out, and how many may be starting there at once. An
:class:`~latent_libvirt.pool.room.allocations.Allocation` is that room, taken. It is held from
before a VM exists until nothing of it is left. All of that is arithmetic: no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from latent_libvirt.pool.room.allocations import Allocation, Allocations
from latent_libvirt.pool.room.free_slots import FreeSlots
from latent_libvirt.pool.room.host_choice import HostChoice
from latent_libvirt.pool.room.limits import Limits
from latent_libvirt.status.names import Target

if TYPE_CHECKING:
    from latent_libvirt.pool.room.amounts import Size
    from latent_libvirt.pool.room.caps import Caps

    Wanted = tuple[str, Size | None]
    """A label, and the size that a build has chosen, or ``None`` for the label's."""


class Capacity:
    """The room that a pool has, and who has taken which.

    Caps may shrink below what is taken: then nothing new starts until enough is given back.
    """

    def __init__(self, caps: Caps) -> None:
        self._limits = Limits(caps)
        self._allocations = Allocations()
        self._free = FreeSlots(self._limits, self._allocations)
        self._choice = HostChoice(self._limits, self._allocations, self._free)

    # What may be taken.

    @property
    def caps(self) -> Caps:
        """The caps that hold from now on."""
        return self._limits.caps

    @caps.setter
    def caps(self, caps: Caps) -> None:
        self._limits.configure(caps)
        self._choice.caps_changed()

    @property
    def drained(self) -> frozenset[Target]:
        """What has no room, beside what the caps drain. It need not be configured."""
        return self._limits.drained

    @drained.setter
    def drained(self, drained: frozenset[Target]) -> None:
        self._recount(self._limits.drain(drained))

    def is_drained(self, target: Target) -> bool:
        """Whether *target* has no room, by the caps or by :attr:`drained`."""
        return self._limits.is_drained(target)

    def is_allocation_drained(self, allocation: Allocation) -> bool:
        """Whether the host or the label of *allocation* has no room, by the caps or by command."""
        return self.is_drained(Target("host", allocation.host)) or self.is_drained(
            Target("label", allocation.label)
        )

    def set_unusable(self, unusable: Mapping[str, frozenset[int] | None]) -> bool:
        """Say what cannot be used now: slots by host, ``None`` for all of a host.

        :return: whether that has changed.
        """
        changed = self._limits.set_unusable(unusable)
        self._recount(changed)
        return bool(changed)

    def set_unfit(
        self,
        unfit: Mapping[str, Collection[str]],
        *,
        without_image: Mapping[str, Collection[str]] = MappingProxyType({}),
    ) -> bool:
        """Say which hosts a label cannot use now, although they are among its own: by label.

        :param without_image: those where no VM can start, since its image is missing.
        :return: whether any of that has changed.
        """
        changed = self._limits.set_unfit(unfit, without_image)
        if changed:
            self._choice.hosts_for_labels_changed()
        return changed

    def set_saved(self, saved: Mapping[str, Mapping[str, frozenset[int]]]) -> bool:
        """Say in which slots a VM comes up sooner than in others: slots by host and label.

        VMs of a chosen size are those of a label that ``sized`` of ``saved_slots.py`` names.

        :return: whether that has changed.
        """
        return self._choice.set_saved(saved)

    def _recount(self, hosts: Collection[str]) -> None:
        for host in hosts:
            self._choice.recount(host)

    # What is taken.

    @property
    def taken(self) -> frozenset[Allocation]:
        """All allocations that have not been given back."""
        return self._allocations.all()

    @property
    def is_full(self) -> bool:
        """Whether the master has all the VMs that it may have."""
        return len(self._allocations) >= self.caps.max_vms

    def given(self, host: str) -> Size:
        """Return what all VMs of *host* take together, each as large as it was made."""
        return self._allocations.given(host)

    def starting(self, host: str) -> int:
        """Return how many VMs of *host* are starting."""
        return self._allocations.starting(host)

    def free_slots(self, host: str) -> list[int]:
        """Return the slots of *host* in which a VM could start, each of them if not all at once."""
        return self._free.of(host)

    # Room for a VM that is to start.

    def room(self, label: str, size: Size | None = None) -> bool:
        """Whether a VM of *label* could start now. A label without a cap has no room.

        :param size: that a build has chosen, or ``None`` for the label's.
        """
        return self._may_grow(label) and self._choice.has_room(label, size)

    def room_without(
        self, label: str, allocations: Collection[Allocation], size: Size | None = None
    ) -> bool:
        """Whether a VM of *label* could start if *allocations*, all taken, were given back."""
        return bool(self.rooms_without([(label, size)], allocations))

    def rooms_without(
        self, wanted: Collection[Wanted], allocations: Collection[Allocation]
    ) -> frozenset[Wanted]:
        """Return of which *wanted* one VM could start if *allocations* were given back.

        :param wanted: labels, each with the size that a build has chosen, or ``None``.
        :param allocations: all of them taken.
        """
        were_starting = [self._allocations.is_starting(each) for each in allocations]
        hosts = {allocation.host for allocation in allocations}
        for allocation in allocations:
            self._allocations.remove(allocation)
        self._recount(hosts)
        try:
            return frozenset(each for each in wanted if self.room(*each))
        finally:
            for allocation, starting in zip(allocations, were_starting, strict=True):
                self._allocations.add(allocation, starting=starting)
            self._recount(hosts)

    def take(
        self,
        label: str,
        avoid: Collection[str] = (),
        avoid_slots: Collection[tuple[str, int]] = (),
        size: Size | None = None,
    ) -> Allocation | None:
        """Take room for a VM of *label* on the host that the caps' placement says, if there is any.

        One with a free slot that is saved for the label comes before all others.

        :param avoid: hosts to take only if no other has room.
        :param avoid_slots: slots, by host and number, to take only if none else is free there.
        :param size: that a build has chosen, or ``None`` for the label's.
        """
        host = self._choice.host(label, avoid, size) if self._may_grow(label) else None
        if host is None:
            return None
        size = size or self.caps.labels[label].size
        slot = self._choice.slot(label, host, avoid_slots, size)
        return self._add(Allocation(label, host, slot, size), starting=True)

    def take_at(self, label: str, host: str, slot: int) -> Allocation | None:
        """Take room for a VM of *label* in that slot. Return ``None`` if none could start there."""
        if label not in self.caps.labels or slot not in self.free_slots(host):
            return None
        allocation = Allocation(label, host, slot, self.caps.labels[label].size)
        may_start = host in self._limits.hosts_for(label) and self._fits(allocation)
        return self._add(allocation, starting=True) if may_start else None

    # Room of a VM that is there.

    def take_slot(
        self,
        label: str,
        host: str,
        slot: int,
        *,
        although_full: bool = False,
        size: Size | None = None,
    ) -> Allocation | None:
        """Take the room of a VM that is in that slot already. Return ``None`` if it cannot stay.

        :param although_full: whether it stays even if no VM could start there: truth before caps.
        :param size: of that VM, or ``None`` for the label's.
        """
        allocation = self._in_slot(label, host, slot, size)
        if allocation is None or not (although_full or self._fits(allocation)):
            return None
        return self._add(allocation, starting=False)

    def has_slot(self, label: str, host: str, slot: int, size: Size | None = None) -> bool:
        """Whether :meth:`take_slot` would give a VM the room that it asks for."""
        allocation = self._in_slot(label, host, slot, size)
        return allocation is not None and self._fits(allocation)

    def _in_slot(self, label: str, host: str, slot: int, size: Size | None) -> Allocation | None:
        if label not in self.caps.labels or slot in self._allocations.slots(host):
            return None
        return Allocation(label, host, slot, size or self.caps.labels[label].size)

    def note_started(self, allocation: Allocation) -> None:
        """Note that the VM in *allocation* is up: another one may start on its host."""
        self._allocations.note_started(allocation)
        self._choice.recount(allocation.host)

    def give_back(self, allocation: Allocation) -> None:
        """Give *allocation* back.

        :raises KeyError: if it has been: each allocation is given back exactly once.
        """
        self._allocations.remove(allocation)
        self._choice.recount(allocation.host)

    def _add(self, allocation: Allocation, *, starting: bool) -> Allocation:
        self._allocations.add(allocation, starting=starting)
        self._choice.recount(allocation.host)
        return allocation

    # Whether it is within the caps.

    def _may_grow(self, label: str) -> bool:
        """Whether there may be one more VM of *label* on any host. One without a cap has none."""
        cap = self.caps.labels.get(label)
        return (
            cap is not None
            and not self.is_full
            and self._allocations.count(label) < cap.max_vms
            and not self.is_drained(Target("label", label))
        )

    def _fits(self, allocation: Allocation) -> bool:
        """Whether *allocation* is within all caps but the throttle.

        Its host need not be usable, nor have the image, which a VM that is there does not need.
        """
        caps, host, slot = self.caps, allocation.host, allocation.slot
        slots, taken = caps.slots.get(host, 0), len(self._allocations.slots(host))
        last_slot = min(slots, caps.labels[allocation.label].last_slots.get(host, slots))
        return (
            self._may_grow(allocation.label)
            and self._limits.fits(allocation.label, host)
            and not self.is_drained(Target("host", host))
            and slot <= last_slot
            and caps.left(host, self.given(host), slots - taken).fits(allocation.size)
        )
