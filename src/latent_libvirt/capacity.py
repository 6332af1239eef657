# SPDX-License-Identifier: GPL-2.0-only
"""How many VMs may run, and on which host the next one goes: pure arithmetic, no I/O, no clock.

A VM may start if there is room within all caps: the master's, its label's and its host's slots. A
:class:`Place` is that room, taken; it is held from before a VM exists until nothing of it is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal


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
    """

    max_vms: int
    slots: Mapping[str, int]
    labels: Mapping[str, LabelCap]


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


@dataclass
class Ledger:
    """Who has taken which room.

    Caps may shrink below what is taken: then nothing new starts until enough is given back.

    :param drained: what has no room, whatever the caps say. It need not be configured.
    """

    caps: Caps
    drained: frozenset[Target] = frozenset()
    _taken: set[Place] = field(default_factory=set)
    _unusable: Mapping[str, frozenset[int] | None] = field(default_factory=dict)

    @property
    def taken(self) -> frozenset[Place]:
        """All places that are taken."""
        return frozenset(self._taken)

    def set_unusable(self, unusable: Mapping[str, frozenset[int] | None]) -> None:
        """Say what cannot be used now: slots by host, ``None`` for all of a host."""
        self._unusable = dict(unusable)

    def room(self, label: str) -> bool:
        """Whether a VM of *label* could start now. A label without a cap has no room."""
        return self._best(label) is not None

    def take(self, label: str) -> Place | None:
        """Take room for a VM of *label* on the host with the most free slots, if there is any."""
        place = self._best(label)
        if place is not None:
            self._taken.add(place)
        return place

    def give_back(self, place: Place) -> None:
        """Give *place* back.

        :raises KeyError: if it is not taken: each place is given back exactly once.
        """
        self._taken.remove(place)

    def _best(self, label: str) -> Place | None:
        cap = self.caps.labels.get(label)
        if cap is None or len(self._taken) >= self.caps.max_vms:
            return None
        if Target("label", label) in self.drained:
            return None
        if Counter(place.label for place in self._taken)[label] >= cap.max_vms:
            return None
        free = {host: self._free_slots(host) for host in cap.hosts}
        host = max(free, key=lambda name: len(free[name]), default=None)
        if host is None or not free[host]:
            return None
        return Place(label, host, free[host][0])

    def _free_slots(self, host: str) -> list[int]:
        unusable = self._unusable.get(host, frozenset())
        if unusable is None or Target("host", host) in self.drained:
            return []
        taken = set(self._slots_taken(host))
        slots = range(1, self.caps.slots.get(host, 0) + 1)
        if len(taken) >= len(slots):
            return []
        return [slot for slot in slots if slot not in taken and slot not in unusable]

    def _slots_taken(self, host: str) -> Iterable[int]:
        return (place.slot for place in self._taken if place.host == host)
