# SPDX-License-Identifier: GPL-2.0-only
"""A slot is free if nothing has it, nothing forbids it, and its host may start one more VM."""

from __future__ import annotations

from latent_libvirt.pool.room.allocations import Allocation, Allocations
from latent_libvirt.pool.room.amounts import Size
from latent_libvirt.pool.room.capacity import Capacity
from latent_libvirt.pool.room.caps import Caps, LabelCap
from latent_libvirt.pool.room.free_slots import FreeSlots
from latent_libvirt.pool.room.limits import Limits
from latent_libvirt.status.names import Target

HOSTS = ("one", "two")
SMALL = LabelCap(9, ("one",), Size(2, 4))


def test_slots_are_free_that_neither_vms_nor_limits_have() -> None:
    limits, allocations = Limits(Caps(9, {"one": 4}, {"small": SMALL})), Allocations()
    free = FreeSlots(limits, allocations)
    assert free.of("one") == [1, 2, 3, 4]
    assert free.of("unknown") == []

    allocations.add(Allocation("small", "one", 2, Size()), starting=False)
    limits.set_unusable({"one": frozenset({3})})
    assert free.of("one") == [1, 4]
    limits.set_unusable({"one": None})
    assert free.of("one") == []
    limits.set_unusable({})
    limits.drain(frozenset({Target("host", "one")}))
    assert free.of("one") == []


def test_a_host_with_as_many_starting_vms_as_it_may_have_has_no_free_slot() -> None:
    limits = Limits(Caps(9, {"one": 3}, {"small": SMALL}, starting={"one": 1}))
    allocations = Allocations()
    free = FreeSlots(limits, allocations)
    allocation = Allocation("small", "one", 1, Size())
    allocations.add(allocation, starting=True)
    assert free.of("one") == []

    allocations.note_started(allocation)

    assert free.of("one") == [2, 3]


def test_slots_with_devices_are_for_those_that_need_them_and_the_last_for_others() -> None:
    needy = LabelCap(9, ("one",), last_slots={"one": 2})
    limits = Limits(Caps(9, {"one": 4, "two": 1}, {"small": SMALL, "needy": needy}))
    free = FreeSlots(limits, Allocations())

    assert free.for_label("needy", "one") == [1, 2]
    assert free.for_label("needy", "two") == []
    assert free.for_label("small", "one") == [3, 4, 1, 2]


def test_a_host_that_got_smaller_takes_none_until_it_has_fewer_vms_than_slots() -> None:
    capacity = Capacity(Caps(9, {"one": 3}, {"small": SMALL}))
    allocations = [capacity.take("small") for _ in range(3)]
    capacity.caps = Caps(9, {"one": 2}, {"small": SMALL})

    free = []
    for allocation in allocations:
        assert allocation is not None
        capacity.give_back(allocation)
        free.append((capacity.free_slots("one"), capacity.room("small")))

    assert free == [([], False), ([1, 2], True), ([1, 2], True)]


def test_a_host_without_devices_gives_its_slots_in_order() -> None:
    needy = LabelCap(9, HOSTS, last_slots={"one": 0, "two": 1})
    capacity = Capacity(Caps(9, {"one": 2, "two": 2}, {"small": SMALL, "needy": needy}))

    allocation = capacity.take("small")

    assert allocation is not None
    assert allocation.slot == 1
