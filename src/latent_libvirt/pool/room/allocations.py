# SPDX-License-Identifier: GPL-2.0-only
"""Allocations: which slots are taken, how much of each host is given, and what starts there."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from latent_libvirt.pool.room.amounts import Size


@dataclass(frozen=True, eq=False)
class Allocation:
    """Room for one VM of a label in a slot of a host. Each is taken once and given back once.

    :param size: what its VM takes of the host, whatever its label says later.
    """

    label: str
    host: str
    slot: int
    size: Size


class Allocations:
    """All that is taken, whatever the caps are."""

    def __init__(self) -> None:
        self._all: set[Allocation] = set()
        self._count: Counter[str] = Counter()
        self._slots: dict[str, set[int]] = defaultdict(set)
        self._given: dict[str, Size] = defaultdict(Size)
        self._starting: dict[str, set[Allocation]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._all)

    def all(self) -> frozenset[Allocation]:
        """Return those that have not been given back."""
        return frozenset(self._all)

    def count(self, label: str) -> int:
        """Return how many VMs of *label* have room."""
        return self._count[label]

    def slots(self, host: str) -> AbstractSet[int]:
        """Return the slots of *host* that are taken."""
        return self._slots.get(host, frozenset())

    def given(self, host: str) -> Size:
        """Return what all VMs of *host* take together, each as large as it was made."""
        return self._given.get(host, Size())

    def starting(self, host: str) -> int:
        """Return how many VMs of *host* are starting."""
        return len(self._starting.get(host, ()))

    def is_starting(self, allocation: Allocation) -> bool:
        """Whether the VM in *allocation* is starting."""
        return allocation in self._starting.get(allocation.host, ())

    def add(self, allocation: Allocation, *, starting: bool) -> None:
        """Note that *allocation* is taken, whose slot is free.

        :param starting: whether its VM is not up yet.
        """
        self._all.add(allocation)
        self._count[allocation.label] += 1
        self._slots[allocation.host].add(allocation.slot)
        self._given[allocation.host] += allocation.size
        if starting:
            self._starting[allocation.host].add(allocation)

    def note_started(self, allocation: Allocation) -> None:
        """Note that the VM in *allocation* is up."""
        self._starting[allocation.host].discard(allocation)

    def remove(self, allocation: Allocation) -> None:
        """Note that *allocation* is given back.

        :raises KeyError: if it has been.
        """
        self._all.remove(allocation)
        self._count[allocation.label] -= 1
        self._slots[allocation.host].remove(allocation.slot)
        self._given[allocation.host] -= allocation.size
        self._starting[allocation.host].discard(allocation)
