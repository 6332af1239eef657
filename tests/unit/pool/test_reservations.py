# SPDX-License-Identifier: GPL-2.0-only
"""Room that is kept between Buildbot's question and the start of a VM."""

from __future__ import annotations

import pytest

from latent_libvirt.pool.reservations import Reservations
from latent_libvirt.pool.room.capacity import Capacity
from paper_pool import PaperPool, config_of


@pytest.fixture
def pool() -> PaperPool:
    return PaperPool(config_of(hosts=("one",), slots=2, max_vms=1, small={}, large={}))


@pytest.fixture
def capacity(pool: PaperPool) -> Capacity:
    return pool.capacity


@pytest.fixture
def reservations(pool: PaperPool) -> Reservations:
    return Reservations(pool.allocator)


def test_two_workers_cannot_reserve_the_same_room(reservations: Reservations) -> None:
    assert reservations.reserve("worker-1", "small")
    reservations.confirm("worker-1")

    assert not reservations.reserve("worker-2", "small")
    assert not reservations.may_have_room("small")


def test_a_reservation_whose_build_never_started_is_void_at_the_next_question(
    reservations: Reservations,
) -> None:
    assert reservations.reserve("worker-1", "small")

    assert reservations.may_have_room("small")
    assert reservations.reserve("worker-2", "small")


def test_a_void_reservation_is_no_place_any_more(
    reservations: Reservations, capacity: Capacity
) -> None:
    reservations.reserve("worker-1", "small")
    reservations.reserve("worker-2", "small")

    assert reservations.use("worker-1", "small") is None
    assert len(capacity.taken) == 1


def test_a_reservation_becomes_the_place_of_a_vm(
    reservations: Reservations, capacity: Capacity
) -> None:
    reservations.reserve("worker-1", "small")
    reservations.confirm("worker-1")

    room = reservations.use("worker-1", "small")

    assert room is not None
    assert capacity.taken == {room.allocation}
    assert reservations.use("worker-1", "small") is None


def test_a_reservation_for_another_label_is_given_back_when_the_vm_starts(
    reservations: Reservations, capacity: Capacity
) -> None:
    reservations.reserve("worker-1", "small")
    reservations.confirm("worker-1")

    assert reservations.use("worker-1", "large") is None
    assert not capacity.taken


def test_cancelling_says_whether_there_was_anything_to_cancel(reservations: Reservations) -> None:
    reservations.reserve("worker-1", "small")
    reservations.confirm("worker-1")

    assert reservations.cancel("worker-1")
    assert not reservations.cancel("worker-1")
    assert reservations.reserve("worker-2", "small")


def test_a_worker_that_has_room_reserved_gets_no_more(reservations: Reservations) -> None:
    reservations.reserve("worker-1", "small")
    reservations.confirm("worker-1")

    assert not reservations.reserve("worker-1", "large")


def test_what_was_used_before_the_next_question_is_decided(
    reservations: Reservations, capacity: Capacity
) -> None:
    reservations.reserve("worker-1", "small")

    assert reservations.use("worker-1", "small") is not None

    assert not reservations.may_have_room("small")
    assert len(capacity.taken) == 1


def test_what_was_cancelled_before_the_next_question_is_decided(
    reservations: Reservations, capacity: Capacity
) -> None:
    reservations.reserve("worker-1", "small")
    reservations.cancel("worker-1")
    capacity.take("large")

    assert not reservations.may_have_room("small")


def test_there_may_be_room_for_a_label_if_it_has_some(reservations: Reservations) -> None:
    assert reservations.may_have_room("small")
    assert not reservations.may_have_room("unknown")
