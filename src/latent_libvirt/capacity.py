# SPDX-License-Identifier: GPL-2.0-only
"""How many VMs may run, and on which host the next one goes: pure arithmetic, no I/O, no clock.

A VM may start if there is room within all caps: the master's, its label's, its host's slots, and
how many may be starting on that host at once. A :class:`Place` is that room, taken; it is held from
before a VM exists until nothing of it is left.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from latent_libvirt.config import PoolConfig
from latent_libvirt.host_ranking import HostRanking


@dataclass(frozen=True)
class LabelCap:
    """How many VMs of a label may exist at once, and where."""

    max_vms: int
    hosts: tuple[str, ...]


@dataclass(frozen=True)
class Caps:
    """All caps of one pool.

    :param max_vms: the master's.
    :param slots: of each host.
    :param starting: how many VMs of a host may be starting at once; without an entry, any number.
    """

    max_vms: int
    slots: Mapping[str, int]
    labels: Mapping[str, LabelCap]
    starting: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, config: PoolConfig) -> Caps:
        """Return the caps that *config* says."""
        hosts, labels = config.hosts.items(), config.labels.items()
        return cls(
            max_vms=config.master.max_vms,
            slots={name: host.slots for name, host in hosts},
            labels={
                name: LabelCap(label.max_vms, config.hosts_for(name)) for name, label in labels
            },
            starting={name: host.max_starting for name, host in hosts if host.max_starting},
        )


@dataclass(frozen=True, eq=False)
class Place:
    """Room for one VM of a label in a slot of a host. Each is taken once and given back once."""

    label: str
    host: str
    slot: int


@dataclass(frozen=True, order=True)
class Target:
    """A host or a label that can be drained: what runs finishes, nothing new starts."""

    kind: Literal["host", "label"]
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class Ledger:
    """Who has taken which room.

    Caps may shrink below what is taken: then nothing new starts until enough is given back.

    A decision costs the same however many hosts there are, and noting its result grows with the
    logarithm of their number; only new caps are worked out for all of them.
    """

    def __init__(self, caps: Caps) -> None:
        self._drained: frozenset[Target] = frozenset()
        self._taken: set[Place] = set()
        self._count: Counter[str] = Counter()
        self._slots_taken: dict[str, set[int]] = defaultdict(set)
        self._starting: dict[str, set[Place]] = defaultdict(set)
        self._unusable: Mapping[str, frozenset[int] | None] = {}
        self.caps = caps

    @property
    def caps(self) -> Caps:
        """The caps that hold from now on."""
        return self._caps

    @caps.setter
    def caps(self, caps: Caps) -> None:
        self._caps = caps
        hosts = {*caps.slots, *(host for label in caps.labels.values() for host in label.hosts)}
        self._free = {host: len(self._free_slots(host)) for host in hosts}
        groups = {label.hosts for label in caps.labels.values()}
        self._rankings = {group: HostRanking(group, self._free) for group in groups}
        self._rankings_of = {
            host: [ranking for group, ranking in self._rankings.items() if host in group]
            for host in hosts
        }

    @property
    def drained(self) -> frozenset[Target]:
        """What has no room, whatever the caps say. It need not be configured."""
        return self._drained

    @drained.setter
    def drained(self, drained: frozenset[Target]) -> None:
        changed = self._drained ^ drained
        self._drained = drained
        for target in changed:
            if target.kind == "host":
                self._recount(target.name)

    @property
    def taken(self) -> frozenset[Place]:
        """All places that are taken."""
        return frozenset(self._taken)

    def set_unusable(self, unusable: Mapping[str, frozenset[int] | None]) -> None:
        """Say what cannot be used now: slots by host, ``None`` for all of a host."""
        before, self._unusable = self._unusable, dict(unusable)
        for host in {*before, *unusable}:
            if before.get(host, frozenset()) != unusable.get(host, frozenset()):
                self._recount(host)

    def room(self, label: str) -> bool:
        """Whether a VM of *label* could start now. A label without a cap has no room."""
        return self._best_host(label) is not None

    def take(self, label: str) -> Place | None:
        """Take room for a VM of *label* on the host with the most free slots, if there is any."""
        host = self._best_host(label)
        if host is None:
            return None
        place = Place(label, host, self._free_slots(host)[0])
        self._taken.add(place)
        self._count[label] += 1
        self._slots_taken[host].add(place.slot)
        self._starting[host].add(place)
        self._recount(host)
        return place

    def note_started(self, place: Place) -> None:
        """Take note that the VM in *place* is up: another one may start on its host."""
        self._starting[place.host].discard(place)
        self._recount(place.host)

    def give_back(self, place: Place) -> None:
        """Give *place* back.

        :raises KeyError: if it is not taken: each place is given back exactly once.
        """
        self._taken.remove(place)
        self._count[place.label] -= 1
        self._slots_taken[place.host].remove(place.slot)
        self._starting[place.host].discard(place)
        self._recount(place.host)

    def _best_host(self, label: str) -> str | None:
        cap = self._caps.labels.get(label)
        if cap is None or len(self._taken) >= self._caps.max_vms:
            return None
        if self._count[label] >= cap.max_vms or Target("label", label) in self._drained:
            return None
        return self._rankings[cap.hosts].best()

    def _recount(self, host: str) -> None:
        if host in self._free:
            self._free[host] = len(self._free_slots(host))
            for ranking in self._rankings_of[host]:
                ranking.note_change(host)

    def _free_slots(self, host: str) -> list[int]:
        unusable = self._unusable.get(host, frozenset())
        if unusable is None or Target("host", host) in self._drained:
            return []
        if len(self._starting[host]) >= self._caps.starting.get(host, math.inf):
            return []
        taken = self._slots_taken[host]
        slots = range(1, self._caps.slots.get(host, 0) + 1)
        if len(taken) >= len(slots):
            return []
        return [slot for slot in slots if slot not in taken and slot not in unusable]
