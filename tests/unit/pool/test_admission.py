# SPDX-License-Identifier: GPL-2.0-only
"""Which build gets room, and what becomes of room whose build does not start."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from latent_libvirt.pool.lease import Idle
from paper_pool import PaperPool, config_of


def test_room_that_is_kept_for_children_is_for_them_alone() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=1, one={"reserve_for_children": 1}))

    assert not pool.admission.reserve("one-1", "one", "parents")
    assert pool.admission.reserve("one-1", "one", "children", awaited=True)
    assert len(pool.capacity.taken) == 1


def test_a_second_child_leaves_no_more_room_for_parents_than_before() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=2, one={"reserve_for_children": 1}))

    assert pool.admission.reserve("one-1", "one", "children", awaited=True)
    pool.admission.confirm_reservation("one-1")
    assert not pool.admission.is_kept_for_children("one"), "a child has what was kept"
    assert pool.admission.reserve("one-2", "one", "parents")


def test_a_reservation_whose_build_does_not_start_is_void_at_the_next_question() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=1, one={}))
    assert pool.admission.reserve("one-1", "one", "check")
    assert pool.admission.fair_share._served["check"] == 1

    pool.admission.nothing_is_undecided()

    assert not pool.capacity.taken
    assert pool.admission.fair_share._served["check"] == 0


def test_a_reservation_whose_build_has_started_stays_and_counts_as_a_turn() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=2, one={}))
    assert pool.admission.reserve("one-1", "one", "check")
    pool.admission.confirm_reservation("one-1")

    assert pool.admission.reserve("one-2", "one", "docs")

    assert len(pool.capacity.taken) == 2
    assert pool.admission.fair_share._served == {"check": 1, "docs": 1}


def test_a_builder_for_which_there_is_no_room_holds_up_nobody() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=1, one={}))
    assert pool.admission.reserve("one-1", "one", "check")
    pool.admission.confirm_reservation("one-1")

    assert not pool.admission.reserve("one-2", "one", "check")

    assert pool.admission.fair_share._served["check"] == 0


def test_an_idle_vm_that_was_promised_may_go_again_when_its_build_does_not_start() -> None:
    pool = PaperPool(config_of(one={"max_builds_per_vm": 2}))
    idle = Idle(Deferred, promised_until=pool.clock.seconds() + 60)

    pool.admission.promise(idle)
    pool.admission.nothing_is_undecided()

    assert idle.promised_until == 0.0


def test_an_idle_vm_whose_build_has_started_keeps_its_promise() -> None:
    pool = PaperPool(config_of(one={"max_builds_per_vm": 2}))
    until = pool.clock.seconds() + 60
    idle = Idle(Deferred, promised_until=until)

    pool.admission.promise(idle)
    pool.admission.confirm_reservation("one-1")
    pool.admission.nothing_is_undecided()

    assert idle.promised_until == until


def test_room_that_is_given_back_wakes_those_who_wait() -> None:
    pool = PaperPool(config_of(one={}))
    assert pool.admission.reserve("one-1", "one", "check")
    before = pool.wakes

    pool.admission.cancel_reservation("one-1")
    pool.admission.cancel_reservation("one-1")

    assert pool.wakes == before + 1
    assert not pool.capacity.taken


def test_room_on_a_host_that_has_left_the_configuration_is_given_back() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), one={}))
    assert pool.admission.reserve("one-1", "one", "check")
    pool.admission.confirm_reservation("one-1")

    pool.configure(config_of(hosts=("beta",), one={}))

    assert pool.admission.reserved("one-1", "one") is None
    assert not pool.capacity.taken


def test_a_label_that_is_not_configured_has_room_so_that_its_builds_fail_and_say_so() -> None:
    pool = PaperPool(config_of(one={}))

    assert pool.admission.may_have_room("unknown")
    assert pool.admission.reserve("unknown-1", "unknown", "check")
    assert not pool.capacity.taken


def test_a_build_of_a_label_that_never_was_has_room_so_that_it_fails_and_says_so() -> None:
    pool = PaperPool(config_of(one={}))

    assert pool.admission.may_have_room("typo")
    assert pool.admission.reserve("by-property", "typo", "check")


def test_a_build_of_a_label_that_was_taken_out_of_the_file_waits_until_it_is_back() -> None:
    both, one = config_of(one={}, two={}), config_of(two={})
    pool = PaperPool(both)

    for config in (one, one):
        pool.configure(config)
        assert not pool.admission.may_have_room("one")
        assert not pool.admission.reserve("one-1", "one", "check")
    assert not pool.capacity.taken
    pool.configure(both)

    assert pool.admission.may_have_room("one")
    assert pool.admission.reserve("one-1", "one", "check")


def test_an_idle_vm_does_not_make_way_for_a_label_that_was_taken_out_of_the_file() -> None:
    pool = PaperPool(config_of(one={}, two={"max_builds_per_vm": 2}))
    lease = pool.building("two", "by-property")
    ended: list[Deferred[None]] = []

    def end() -> Deferred[None]:
        ended.append(Deferred())
        return ended[0]

    pool.configure(config_of(two={"max_builds_per_vm": 2}))

    pool.admission.make_way("one", lease, Idle(end))

    assert not ended
