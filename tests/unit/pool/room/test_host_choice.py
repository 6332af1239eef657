# SPDX-License-Identifier: GPL-2.0-only
"""The next VM goes to the best host, asked through a capacity.

Any order of changes is in ``test_capacity.py``.
"""

from __future__ import annotations

from latent_libvirt.pool.room.amounts import Size
from latent_libvirt.pool.room.capacity import Capacity
from latent_libvirt.pool.room.caps import Budget, Caps, LabelCap
from latent_libvirt.pool.room.saved_slots import sized

HOSTS = ("one", "two")


def test_the_next_vm_goes_to_the_host_with_the_most_free_slots() -> None:
    capacity = Capacity(Caps(9, {"one": 1, "two": 3}, {"small": LabelCap(9, HOSTS)}))

    allocations = [capacity.take("small") for _ in range(3)]

    assert [allocation.host for allocation in allocations if allocation] == ["two", "two", "one"]


def test_packing_fills_one_host_before_the_next() -> None:
    caps = Caps(9, {"one": 3, "two": 2}, {"small": LabelCap(9, HOSTS)}, placement="pack")
    capacity = Capacity(caps)

    allocations = [capacity.take("small") for _ in range(3)]

    assert [allocation.host for allocation in allocations if allocation] == ["two", "two", "one"]


def test_a_large_vm_goes_where_it_fits_and_not_where_the_most_slots_are_free() -> None:
    labels = {"large": LabelCap(9, HOSTS, Size(vcpus=8, memory=4))}
    budgets = {"one": Budget(vcpus=8, memory=3), "two": Budget(vcpus=8, memory=4)}
    capacity = Capacity(Caps(9, {"one": 9, "two": 1}, labels, budgets=budgets))

    allocation = capacity.take("large")

    assert allocation is not None
    assert allocation.host == "two"
    assert not capacity.room("large")


def test_a_host_to_avoid_is_better_than_none() -> None:
    capacity = Capacity(Caps(9, {"one": 3, "two": 1}, {"small": LabelCap(9, HOSTS)}))

    allocations = [capacity.take("small", avoid=["one"]) for _ in range(2)]

    assert [allocation.host for allocation in allocations if allocation] == ["two", "one"]


def test_a_host_that_is_unfit_for_a_label_is_there_for_the_others() -> None:
    labels = {name: LabelCap(9, ("alpha", "beta")) for name in ("large", "small")}
    capacity = Capacity(Caps(9, {"alpha": 4, "beta": 1}, labels))

    capacity.set_unfit({"large": {"alpha": "too small"}, "small": {}})
    first = capacity.take("large")
    assert first is not None
    assert first.host == "beta"
    assert not capacity.room("large")
    assert capacity.take_at("large", "alpha", 1) is None
    assert capacity.room("small")

    capacity.caps = capacity.caps
    assert not capacity.room("large"), "new caps change nothing"
    capacity.set_unfit({})
    assert capacity.room("large")


def test_a_host_to_avoid_is_avoided_although_something_is_saved_there() -> None:
    capacity = Capacity(Caps(9, {"one": 2, "two": 2}, {"small": LabelCap(9, HOSTS)}))
    capacity.set_saved({"one": {"small": frozenset({1})}})

    allocation = capacity.take("small", avoid=["one"])

    assert allocation is not None
    assert allocation.host == "two"


def test_a_vm_of_a_chosen_size_goes_where_it_fits_whatever_is_saved_elsewhere() -> None:
    labels = {"small": LabelCap(9, HOSTS, Size(1, 1))}
    budgets = {"one": Budget(vcpus=2), "two": Budget(vcpus=4)}
    capacity = Capacity(Caps(9, {"one": 9, "two": 3}, labels, budgets=budgets))
    capacity.set_saved({"one": {"small": frozenset({1})}})

    allocation = capacity.take("small", size=Size(4, 1))

    assert allocation is not None
    assert (allocation.host, allocation.size) == ("two", Size(4, 1))
    assert not capacity.room("small", Size(4, 1))


def test_a_vm_in_a_slot_that_its_host_has_no_more_leaves_it_less_room() -> None:
    labels = {"small": LabelCap(9, HOSTS)}
    capacity = Capacity(Caps(9, {"one": 3, "two": 2}, labels))
    assert capacity.take_slot("small", "one", 3) is not None
    capacity.caps = Caps(9, {"one": 2, "two": 2}, labels)

    allocation = capacity.take("small")

    assert allocation is not None
    assert allocation.host == "two"


def test_a_host_comes_first_for_what_it_has_saved_until_that_is_in_use_or_gone() -> None:
    capacity = Capacity(Caps(9, {"one": 2, "two": 4}, {"small": LabelCap(9, HOSTS)}))
    capacity.set_saved({"one": {"small": frozenset({2})}})

    first, second = capacity.take("small"), capacity.take("small")
    assert first is not None
    assert second is not None
    assert (first.host, first.slot, second.host) == ("one", 2, "two")

    capacity.give_back(first)
    capacity.set_saved({})
    third = capacity.take("small")
    assert third is not None
    assert third.host == "two"


def test_a_vm_of_a_chosen_size_avoids_a_host_as_others_do() -> None:
    caps = Caps(9, {"one": 2, "two": 2}, {"small": LabelCap(9, HOSTS, Size(2, 4))})
    capacity = Capacity(caps)

    allocations = [capacity.take("small", ["one"], size=Size(1, 1)) for _ in range(3)]

    assert [each.host for each in allocations if each] == ["two", "two", "one"]


def test_slots_to_avoid_are_taken_last() -> None:
    capacity = Capacity(Caps(9, {"one": 3}, {"small": LabelCap(9, ("one",))}))
    avoid = [("one", 1), ("one", 2), ("two", 3)]

    allocations = [capacity.take("small", avoid_slots=avoid) for _ in range(2)]

    assert [each.slot for each in allocations if each] == [3, 1]


def test_a_label_with_devices_goes_where_they_are_and_no_further() -> None:
    needy = LabelCap(9, HOSTS, Size(1, 1), last_slots={"one": 1, "two": 0})
    capacity = Capacity(Caps(9, {"one": 2, "two": 9}, {"needy": needy}))

    allocation = capacity.take("needy")

    assert allocation is not None
    assert (allocation.host, allocation.slot) == ("one", 1)
    assert not capacity.room("needy")


def test_a_vm_of_a_chosen_size_takes_the_slot_that_is_saved_for_that_size() -> None:
    capacity = Capacity(Caps(9, {"one": 3}, {"small": LabelCap(9, ("one",), Size(2, 4))}))
    size = Size(1, 1)
    capacity.set_saved({"one": {"small": frozenset({2}), sized("small", size): frozenset({3})}})

    allocation = capacity.take("small", size=size)

    assert allocation is not None
    assert allocation.slot == 3
