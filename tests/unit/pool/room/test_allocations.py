# SPDX-License-Identifier: GPL-2.0-only
"""What is taken is counted by label and by host until it is given back."""

from __future__ import annotations

import pytest

from latent_libvirt.pool.room.allocations import Allocation, Allocations
from latent_libvirt.pool.room.amounts import Size

UP = Allocation("small", "one", 1, Size(1, 2))
STARTING = Allocation("large", "one", 3, Size(4, 8))


def both() -> Allocations:
    allocations = Allocations()
    allocations.add(UP, starting=False)
    allocations.add(STARTING, starting=True)
    return allocations


def test_what_is_taken_is_counted() -> None:
    allocations = both()

    assert (len(allocations), allocations.all()) == (2, frozenset({UP, STARTING}))
    assert [allocations.count(label) for label in ("small", "large", "unknown")] == [1, 1, 0]
    assert allocations.slots("one") == {1, 3}
    assert allocations.given("one") == Size(5, 10)
    assert allocations.starting("one") == 1
    assert [allocations.is_starting(each) for each in (UP, STARTING)] == [False, True]


def test_a_host_without_vms_has_given_nothing() -> None:
    allocations = both()

    assert allocations.slots("two") == set()
    assert allocations.given("two") == Size()
    assert allocations.starting("two") == 0
    assert not allocations.is_starting(Allocation("small", "two", 1, Size()))


def test_a_vm_that_is_up_is_not_starting() -> None:
    allocations = both()

    allocations.note_started(STARTING)
    allocations.note_started(UP)

    assert allocations.starting("one") == 0
    assert allocations.all() == {UP, STARTING}


def test_what_is_given_back_is_counted_no_more() -> None:
    allocations = both()

    allocations.remove(STARTING)

    assert (len(allocations), allocations.all()) == (1, frozenset({UP}))
    assert (allocations.count("small"), allocations.count("large")) == (1, 0)
    assert (allocations.slots("one"), allocations.given("one")) == ({1}, Size(1, 2))
    assert allocations.starting("one") == 0


def test_nothing_is_given_back_twice_and_the_count_stays() -> None:
    allocations = both()
    allocations.remove(STARTING)

    with pytest.raises(KeyError):
        allocations.remove(STARTING)

    assert allocations.count("large") == 0
