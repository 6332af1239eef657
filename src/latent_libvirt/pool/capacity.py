# SPDX-License-Identifier: GPL-2.0-only
"""Caps on VMs, and the host of the next one: pure arithmetic, no I/O, no clock.

A VM may start if there is room within all caps: the master's, its label's, its host's slots, the
vCPUs and the memory that its host may give out, and how many may be starting there at once. An
:class:`Allocation` is that room, taken. It is held from before a VM exists until nothing of it is
left.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from latent_libvirt.pool.placement import (
    HostRanking,
    Left,
    Size,
)
from latent_libvirt.status.names import Target

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.config.sections.host import HostConfig
    from latent_libvirt.pool.host_sets import HostSet
    from latent_libvirt.pool.placement import (
        Placement,
    )


@dataclass(frozen=True)
class LabelCap:
    """How many VMs of a label may exist at once, where, and what each takes of its host.

    :param last_slots: the last slot of each host that has its devices, if it needs any.
    """

    max_vms: int
    hosts: tuple[str, ...]
    size: Size = field(default_factory=Size)
    last_slots: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Budget:
    """What a host may give out to all its VMs together.

    :param memory: in bytes.
    """

    vcpus: float = math.inf
    memory: float = math.inf


@dataclass(frozen=True)
class Caps:
    """All caps of one pool.

    :param max_vms: the master's.
    :param slots: of each host.
    :param starting: how many VMs of a host may be starting at once; without an entry, any number.
    :param budgets: of each host; without an entry, there is no limit but its slots.
    :param placement: which of several hosts with room is taken.
    :param drained: what has no room, whatever else is said.
    """

    max_vms: int
    slots: Mapping[str, int]
    labels: Mapping[str, LabelCap]
    starting: Mapping[str, int] = field(default_factory=dict)
    budgets: Mapping[str, Budget] = field(default_factory=dict)
    placement: Placement = "spread"
    drained: frozenset[Target] = frozenset()

    @classmethod
    def of(cls, config: PoolConfig) -> Caps:
        """Return the caps that *config* says."""
        hosts = config.hosts.items()
        return cls(
            max_vms=config.master.max_vms,
            slots={name: host.slots for name, host in hosts},
            labels={name: _label_cap(config, name) for name in config.labels},
            starting={name: host.max_starting for name, host in hosts if host.max_starting},
            budgets={name: _budget(host) for name, host in hosts},
            placement=config.master.placement,
            drained=drained_by(config),
        )


def _label_cap(config: PoolConfig, name: str) -> LabelCap:
    label = config.labels[name]
    size, last_slots = Size(label.vcpus, label.memory), config.slots_with_devices(name)
    return LabelCap(label.max_vms, config.hosts_for(name), size, last_slots)


def _budget(host: HostConfig) -> Budget:
    vcpus, memory = host.vcpu_budget, host.memory_budget
    return Budget(math.inf if vcpus is None else vcpus, math.inf if memory is None else memory)


def drained_by(config: PoolConfig) -> frozenset[Target]:
    """Return what *config* itself drains."""
    hosts = {Target("host", name) for name, host in config.hosts.items() if host.drain}
    labels = {Target("label", name) for name, label in config.labels.items() if label.drain}
    return frozenset(hosts | labels)


def _slots_for_devices(labels: Iterable[LabelCap]) -> dict[str, int]:
    """Return the last slot of each host that has devices for some label."""
    found: dict[str, int] = {}
    for label in labels:
        for host, last in label.last_slots.items():
            found[host] = max(last, found.get(host, 0))
    return found


def sized(label: str, size: Size) -> str:
    """Return a name for the VMs of *label* that have a size which a build has chosen."""
    return f"{label} {size.vcpus} {size.memory}"


@dataclass(frozen=True, eq=False)
class Allocation:
    """Room for one VM of a label in a slot of a host. Each is taken once and given back once.

    :param size: what its VM takes of the host, whatever its label says later.
    """

    label: str
    host: str
    slot: int
    size: Size


class Capacity:
    """Who has taken which room.

    Caps may shrink below what is taken: then nothing new starts until enough is given back.

    What a decision costs hardly depends on how many hosts and labels there are; only new caps are
    worked out for all of them.
    """

    def __init__(self, caps: Caps) -> None:
        self._drained: frozenset[Target] = frozenset()
        self._taken: set[Allocation] = set()
        self._count: Counter[str] = Counter()
        self._slots_taken: dict[str, set[int]] = defaultdict(set)
        self._given: dict[str, Size] = defaultdict(Size)
        self._starting: dict[str, set[Allocation]] = defaultdict(set)
        self._unusable: Mapping[str, frozenset[int] | None] = {}
        self._unfit: Mapping[str, frozenset[str]] = {}
        self._saved: Mapping[str, Mapping[str, frozenset[int]]] = {}
        self.caps = caps

    @property
    def caps(self) -> Caps:
        """The caps that hold from now on."""
        return self._caps

    @caps.setter
    def caps(self, caps: Caps) -> None:
        self._caps = caps
        self._for_devices = _slots_for_devices(caps.labels.values())
        limits = {host: self._left(host, Size(), slots) for host, slots in caps.slots.items()}
        self._ranking = HostRanking(limits, {label.size for label in caps.labels.values()})
        self._group_hosts()
        self._ready: dict[str, HostSet] = defaultdict(lambda: self._ranking.group(()))
        for host in caps.slots:
            self._recount(host)

    def _group_hosts(self) -> None:
        hosts = {name: self._hosts_for(name) for name in self._caps.labels}
        groups = {each: self._ranking.group(each) for each in set(hosts.values())}
        self._groups = {name: groups[each] for name, each in hosts.items()}

    def _hosts_for(self, label: str) -> tuple[str, ...]:
        hosts, unfit = self._caps.labels[label].hosts, self._unfit.get(label)
        return tuple(host for host in hosts if host not in unfit) if unfit else hosts

    @property
    def drained(self) -> frozenset[Target]:
        """What has no room, beside what the caps drain. It need not be configured."""
        return self._drained

    @drained.setter
    def drained(self, drained: frozenset[Target]) -> None:
        changed = self._drained ^ drained
        self._drained = drained
        for target in changed:
            if target.kind == "host":
                self._recount(target.name)

    def is_drained(self, target: Target) -> bool:
        """Whether *target* has no room, by the caps or by :attr:`drained`."""
        return target in self._drained or target in self._caps.drained

    def is_allocation_drained(self, allocation: Allocation) -> bool:
        """Whether the host or the label of *allocation* has no room, by the caps or by command."""
        return self.is_drained(Target("host", allocation.host)) or self.is_drained(
            Target("label", allocation.label)
        )

    @property
    def taken(self) -> frozenset[Allocation]:
        """All allocations that have not been given back."""
        return frozenset(self._taken)

    def set_unusable(self, unusable: Mapping[str, frozenset[int] | None]) -> bool:
        """Say what cannot be used now: slots by host, ``None`` for all of a host.

        :return: whether that has changed.
        """
        before, self._unusable = self._unusable, dict(unusable)
        none: frozenset[int] = frozenset()
        changed = [
            host
            for host in before.keys() | unusable.keys()
            if before.get(host, none) != unusable.get(host, none)
        ]
        for host in changed:
            self._recount(host)
        return bool(changed)

    def set_unfit(self, unfit: Mapping[str, Collection[str]]) -> bool:
        """Say which hosts a label cannot use now, although they are among its own: by label.

        :return: whether that has changed.
        """
        now = {label: frozenset(hosts) for label, hosts in unfit.items() if hosts}
        if now == self._unfit:
            return False
        self._unfit = now
        self._group_hosts()
        return True

    def set_saved(self, saved: Mapping[str, Mapping[str, frozenset[int]]]) -> bool:
        """Say in which slots a VM comes up sooner than in others: slots by host and label.

        VMs of a chosen size are those of a label that :func:`sized` names.

        :return: whether that has changed.
        """
        before, self._saved = self._saved, saved
        # What has not changed is the same mapping, which is seen at once.
        changed = [
            host
            for host in before.keys() | saved.keys()
            if (then := before.get(host)) is not (now := saved.get(host))
            and (then or {}) != (now or {})
        ]
        for host in changed:
            self._look_for_saved(host, self.free_slots(host), also=before.get(host, ()))
        return bool(changed)

    @property
    def is_full(self) -> bool:
        """Whether the master has all the VMs that it may have."""
        return len(self._taken) >= self._caps.max_vms

    def room(self, label: str, size: Size | None = None) -> bool:
        """Whether a VM of *label* could start now. A label without a cap has no room.

        :param size: that a build has chosen, or ``None`` for the label's.
        """
        return self._best_host(label, size=size) is not None

    def is_usual(self, label: str, size: Size | None) -> bool:
        """Whether *size* is what VMs of *label* have for which nobody chooses one."""
        cap = self._caps.labels.get(label)
        return size is None or (cap is not None and cap.size == size)

    def given(self, host: str) -> Size:
        """Return what all VMs of *host* take together, each as large as it was made."""
        return self._given.get(host, Size())

    def may_give(self, host: str, size: Size) -> bool:
        """Whether *host* could give *size* to a VM if it had no other."""
        left = self._left(host, Size(), 1)
        return left.vcpus >= size.vcpus and left.memory >= size.memory

    def starting(self, host: str) -> int:
        """Return how many VMs of *host* are starting."""
        return len(self._starting.get(host, ()))

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
        host = self._best_saved_host(label, avoid, size) or self._best_host(label, avoid, size=size)
        if host is None:
            return None
        size = size or self._caps.labels[label].size
        free, saved = self._slots_for(label, host), self._saved_slots(self._kind(label, size), host)
        free = [slot for slot in free if (host, slot) not in avoid_slots] or free
        slot = next((slot for slot in free if slot in saved), free[0])
        return self._take(Allocation(label, host, slot, size))

    def _slots_for(self, label: str, host: str) -> list[int]:
        """Return the slots in which a VM of *label* could start, those first to be taken first.

        VMs that need no device leave slots with devices to others, as long as there are more.
        """
        free, last_slots = self.free_slots(host), self._caps.labels[label].last_slots
        if last_slots:
            return [slot for slot in free if slot <= last_slots.get(host, 0)]
        last = self._for_devices.get(host, 0)
        return sorted(free, key=lambda slot: slot <= last)

    def _kind(self, label: str, size: Size | None) -> str:
        return label if size is None or self.is_usual(label, size) else sized(label, size)

    def take_at(self, label: str, host: str, slot: int) -> Allocation | None:
        """Take room for a VM of *label* in that slot. Return ``None`` if none could start there."""
        if label not in self._caps.labels or slot not in self.free_slots(host):
            return None
        allocation = Allocation(label, host, slot, self._caps.labels[label].size)
        return self._take(allocation) if self._fits(allocation) else None

    def _take(self, allocation: Allocation) -> Allocation:
        self._add(allocation, starting=True)
        return allocation

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
        self._add(allocation, starting=False)
        return allocation

    def has_slot(self, label: str, host: str, slot: int, size: Size | None = None) -> bool:
        """Whether :meth:`take_slot` would give a VM the room that it asks for."""
        allocation = self._in_slot(label, host, slot, size)
        return allocation is not None and self._fits(allocation)

    def _in_slot(self, label: str, host: str, slot: int, size: Size | None) -> Allocation | None:
        if label not in self._caps.labels or slot in self._slots_taken[host]:
            return None
        return Allocation(label, host, slot, size or self._caps.labels[label].size)

    def note_started(self, allocation: Allocation) -> None:
        """Note that the VM in *allocation* is up: another one may start on its host."""
        self._starting[allocation.host].discard(allocation)
        self._recount(allocation.host)

    def give_back(self, allocation: Allocation) -> None:
        """Give *allocation* back.

        :raises KeyError: if it has been: each allocation is given back exactly once.
        """
        self._remove(allocation)

    def room_without(
        self, label: str, allocations: Collection[Allocation], size: Size | None = None
    ) -> bool:
        """Whether a VM of *label* could start if *allocations*, all taken, were given back."""
        were_starting = [
            allocation in self._starting[allocation.host] for allocation in allocations
        ]
        for allocation in allocations:
            self._remove(allocation)
        try:
            return self.room(label, size)
        finally:
            for allocation, starting in zip(allocations, were_starting, strict=True):
                self._add(allocation, starting=starting)

    def _add(self, allocation: Allocation, *, starting: bool) -> None:
        self._taken.add(allocation)
        self._count[allocation.label] += 1
        self._slots_taken[allocation.host].add(allocation.slot)
        self._given[allocation.host] += allocation.size
        if starting:
            self._starting[allocation.host].add(allocation)
        self._recount(allocation.host)

    def _remove(self, allocation: Allocation) -> None:
        self._taken.remove(allocation)
        self._count[allocation.label] -= 1
        self._slots_taken[allocation.host].remove(allocation.slot)
        self._given[allocation.host] -= allocation.size
        self._starting[allocation.host].discard(allocation)
        self._recount(allocation.host)

    def _fits(self, allocation: Allocation) -> bool:
        """Whether *allocation* is within all caps but the throttle; its host need not be usable."""
        cap, host = self._caps.labels[allocation.label], allocation.host
        slots = self._caps.slots.get(host, 0)
        left = self._left(host, self._given[host], slots - len(self._slots_taken[host]))
        return (
            host in cap.hosts
            and host not in self._unfit.get(allocation.label, ())
            and not self.is_allocation_drained(allocation)
            and len(self._taken) < self._caps.max_vms
            and self._count[allocation.label] < cap.max_vms
            and allocation.slot <= min(slots, cap.last_slots.get(host, slots))
            and left.slots > 0
            and left.vcpus >= allocation.size.vcpus
            and left.memory >= allocation.size.memory
        )

    def _best_host(
        self,
        label: str,
        avoid: Collection[str] = (),
        *,
        among: tuple[HostSet, ...] = (),
        size: Size | None = None,
    ) -> str | None:
        cap = self._caps.labels.get(label)
        if cap is None or len(self._taken) >= self._caps.max_vms:
            return None
        if self._count[label] >= cap.max_vms or self.is_drained(Target("label", label)):
            return None
        if cap.last_slots or not self.is_usual(label, size):
            hosts = [host for host in self._hosts_for(label) if self._slots_for(label, host)]
            return self._ranking.best_of(hosts, size or cap.size, self._caps.placement, avoid)
        groups = (self._groups[label], *among)
        return self._ranking.best(groups, cap.size, self._caps.placement, avoid)

    def _best_saved_host(
        self, label: str, avoid: Collection[str], size: Size | None = None
    ) -> str | None:
        """Return the best host where a VM of *label* comes up soonest, none of those to avoid."""
        if not self.is_usual(label, size):
            return None  # among the slots of the best host, one that is saved is taken
        if label not in self._ready:
            return None
        best = self._best_host(label, avoid, among=(self._ready[label],))
        return None if best in avoid else best

    def _look_for_saved(self, host: str, free: list[int], *, also: Iterable[str] = ()) -> None:
        """Record for which labels there is a saved slot among those that are *free*.

        :param also: labels for which there may have been one.
        """
        for label in {*self._saved.get(host, ()), *also}:
            saved = self._saved_slots(label, host)
            self._ranking.put(self._ready[label], host, inside=not saved.isdisjoint(free))

    def _saved_slots(self, label: str, host: str) -> frozenset[int]:
        return self._saved.get(host, {}).get(label, frozenset())

    def _recount(self, host: str) -> None:
        if host in self._caps.slots:
            free = self.free_slots(host)
            slots = min(len(free), self._caps.slots[host] - len(self._slots_taken[host]))
            self._ranking.note(host, self._left(host, self._given[host], slots))
            self._look_for_saved(host, free)

    def _left(self, host: str, given: Size, slots: int) -> Left:
        budget = self._caps.budgets.get(host, Budget())
        return Left(slots, budget.vcpus - given.vcpus, budget.memory - given.memory)

    def free_slots(self, host: str) -> list[int]:
        """Return the slots of *host* in which a VM could start, each of them if not all at once."""
        unusable = self._unusable.get(host, frozenset())
        if unusable is None or self.is_drained(Target("host", host)):
            return []
        if len(self._starting[host]) >= self._caps.starting.get(host, math.inf):
            return []
        slots, taken = self._caps.slots.get(host, 0), self._slots_taken[host]
        # After the host has shrunk, there may be VMs in slots beyond its last as well.
        if len(taken) >= slots:
            return []
        every = range(1, slots + 1)
        return [slot for slot in every if slot not in taken and slot not in unusable]
