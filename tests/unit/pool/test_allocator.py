# SPDX-License-Identifier: GPL-2.0-only
"""What a job can have, and what is evicted for it."""

from __future__ import annotations

from functools import partial

import pytest
from twisted.internet.defer import Deferred

from latent_libvirt.pool.allocator import (
    Allocator,
    Evictable,
)
from latent_libvirt.pool.capacity import (
    Allocation,
    Budget,
    Capacity,
    Caps,
    LabelCap,
)
from latent_libvirt.pool.placement import Size
from shelves import EmptyShelf

BOTH = ("alpha", "beta")


class Victims:
    """VMs that may go, as long as nobody has asked them to."""

    def __init__(self, capacity: Capacity) -> None:
        self._capacity = capacity
        self.allocations: list[Allocation] = []
        self.going: dict[Allocation, Deferred[None]] = {}

    def add(self, label: str, count: int) -> None:
        for _ in range(count):
            allocation = self._capacity.take(label)
            assert allocation is not None
            self._capacity.note_started(allocation)
            self.allocations.append(allocation)

    def evictable(self) -> list[Evictable]:
        return [
            Evictable(allocation, f"spare of {allocation.label}", partial(self._evict, allocation))
            for allocation in self.allocations
        ]

    def _evict(self, allocation: Allocation) -> Deferred[None]:
        self.allocations.remove(allocation)
        self.going[allocation] = Deferred()
        return self.going[allocation]

    def end(self) -> None:
        """Let those that are going be gone."""
        going, self.going = self.going, {}
        for allocation, gone in going.items():
            self._capacity.give_back(allocation)
            gone.callback(None)


@pytest.fixture
def capacity() -> Capacity:
    labels = {
        "spare": LabelCap(9, BOTH),
        "job": LabelCap(2, BOTH),
        "only-beta": LabelCap(9, ("beta",)),
    }
    return Capacity(Caps(4, {"alpha": 2, "beta": 2}, labels))


@pytest.fixture
def victims(capacity: Capacity) -> Victims:
    return Victims(capacity)


@pytest.fixture
def allocator(capacity: Capacity, victims: Victims) -> Allocator:
    return Allocator(capacity, EmptyShelf(), victims.evictable)


def test_nothing_is_evicted_that_is_not_in_the_way(allocator: Allocator, victims: Victims) -> None:
    victims.add("spare", 2)

    assert allocator.has("job")
    assert allocator.take("job") is not None
    assert not victims.going


def test_one_spare_goes_for_one_job(allocator: Allocator, victims: Victims) -> None:
    victims.add("spare", 4)
    assert not allocator.has("job")

    allocator.make_room("job")
    allocator.make_room("job")

    assert len(victims.going) == 1
    victims.end()
    assert allocator.has("job")


def test_what_goes_is_on_a_host_where_the_job_may_run(
    allocator: Allocator, victims: Victims
) -> None:
    victims.add("spare", 4)

    allocator.make_room("only-beta")

    assert [allocation.host for allocation in victims.going] == ["beta"]


def test_where_the_masters_cap_is_in_the_way_any_spare_will_do(
    capacity: Capacity, allocator: Allocator, victims: Victims
) -> None:
    capacity.caps = Caps(2, {"alpha": 2, "beta": 2}, capacity.caps.labels)
    victims.add("spare", 2)

    allocator.make_room("only-beta")

    assert len(victims.going) == 1
    victims.end()
    assert allocator.has("only-beta")


def test_nothing_is_evicted_where_that_does_not_help(
    capacity: Capacity, allocator: Allocator, victims: Victims
) -> None:
    for _ in range(2):
        capacity.take("job")
    victims.add("spare", 2)

    allocator.make_room("job")

    assert not victims.going, "the label is at its own cap"
    assert not allocator.can_make_room("job")
    allocator.changed()
    assert allocator.can_make_room("job")


def test_a_large_job_evicts_as_many_small_spares_as_it_takes() -> None:
    labels = {
        "small": LabelCap(9, BOTH, Size(1, 1)),
        "large": LabelCap(9, BOTH, Size(3, 3)),
    }
    budgets = {"alpha": Budget(4, 4), "beta": Budget(4, 4)}
    capacity = Capacity(Caps(9, {"alpha": 9, "beta": 9}, labels, budgets=budgets))
    victims = Victims(capacity)
    victims.add("small", 8)
    allocator = Allocator(capacity, EmptyShelf(), victims.evictable)

    allocator.make_room("large")

    assert len(victims.going) == 3
    assert len({allocation.host for allocation in victims.going}) == 1
    victims.end()
    assert allocator.has("large")
