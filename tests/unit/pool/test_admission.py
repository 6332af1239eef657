# SPDX-License-Identifier: GPL-2.0-only
"""Which build gets room, and what becomes of room whose build does not start."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.logger import capturedLogs, formatEvent

from latent_libvirt.config.units import GIB
from latent_libvirt.pool.lease import Idle, Lease
from latent_libvirt.pool.room.amounts import Size
from paper_pool import PaperPool, config_of, machine_of
from synchronous import all_of


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


# What is kept for children.


def of_children(pool: PaperPool) -> Lease:
    """Return the lease of a worker that has a build that another one waits for."""
    pool.admission.note_child("one-1", awaited=True)
    return pool.building("one", "one-1")


def test_a_childs_vm_that_idles_is_no_childs_any_more() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=2, one={"reserve_for_children": 1}))
    lease = of_children(pool)
    assert not pool.admission.is_kept_for_children("one"), "a child has what was kept"

    lease.rest(Idle(Deferred, promised_until=pool.clock.seconds() + 60))

    assert pool.admission.is_kept_for_children("one")


def test_an_idle_vm_that_may_go_takes_nothing_of_what_is_kept() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=2, one={"reserve_for_children": 1}))
    of_children(pool).rest(Idle(Deferred))

    assert not pool.admission.is_kept_for_children("one")


def test_a_worker_that_had_a_child_is_no_childs_when_it_gets_another_build() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=2, one={"reserve_for_children": 1}))
    of_children(pool)

    pool.admission.note_child("one-1", awaited=False)

    assert pool.admission.is_kept_for_children("one")


def test_room_that_another_label_keeps_does_not_hold_up_builds_of_no_label() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=1, one={"reserve_for_children": 1}))

    assert not pool.admission.is_kept_for_children("unknown")
    assert pool.admission.reserve("unknown-1", "unknown", "check")


def test_a_builder_whose_room_is_kept_for_children_holds_up_nobody() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=2, one={"reserve_for_children": 1}))
    assert pool.admission.reserve("one-1", "one", "parents")
    pool.admission.confirm_reservation("one-1")

    assert not pool.admission.reserve("one-2", "one", "parents")

    assert pool.admission.fair_share._served["parents"] == 0


# Room that has to be made.


def full_of_spares() -> PaperPool:
    """Return a pool whose only slot has a spare, which goes when the test says so."""
    pool = PaperPool(config_of(hosts=("alpha",), slots=1, one={}, two={"spares": 1}))
    pool.tidy()
    pool.paper_hosts["alpha"].frees_at_once = False
    return pool


def test_a_build_for_which_there_is_no_room_has_some_made() -> None:
    pool = full_of_spares()

    assert not pool.admission.reserve("one-1", "one", "check")
    pool.paper_hosts["alpha"].frees()

    assert pool.admission.reserve("one-1", "one", "check")


def test_it_is_worth_asking_for_room_if_a_spare_may_go_until_it_is_going() -> None:
    pool = full_of_spares()
    assert pool.admission.may_have_room("one")

    pool.admission.reserve("one-1", "one", "check")
    assert not pool.admission.may_have_room("one")
    pool.paper_hosts["alpha"].frees()

    assert pool.admission.may_have_room("one")


def test_it_is_worth_asking_for_room_that_there_is_while_more_is_being_made() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=2, one={}, two={"spares": 1}))
    pool.tidy()
    lease = pool.building()
    pool.paper_hosts["alpha"].frees_at_once = False
    pool.admission.reserve("one-1", "one", "check")
    assert not pool.admission.may_have_room("one")

    pool.capacity.give_back(lease.vm.allocation)

    assert pool.admission.may_have_room("one")


def test_it_is_not_worth_asking_for_room_where_nothing_may_go() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=1, one={}, two={}))
    pool.building("two")
    assert not pool.admission.reserve("one-1", "one", "check")

    assert not pool.admission.may_have_room("one")


def idling(pool: PaperPool) -> tuple[Lease, Idle, list[str]]:
    """Return a VM of label ``two`` that idles, and a list that it is noted in when it is ended."""
    lease, ended = pool.building("two", "two-1"), []

    def end() -> Deferred[None]:
        ended.append("two-1")
        return succeed(None)

    lease.rest(idle := Idle(end))
    return lease, idle, ended


@pytest.mark.parametrize("label", ["one", "unknown"])
def test_a_worker_whose_vm_idles_is_freed_for_a_build_for_which_there_is_room(label: str) -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=2, one={}, two={}))
    lease, idle, ended = idling(pool)

    with capturedLogs() as logged:
        pool.admission.make_way(label, lease, idle)

    assert ended == ["two-1"]
    assert f"a job of label {label} needs the room of idle VM {lease}" in map(formatEvent, logged)


def test_a_worker_is_freed_although_another_vm_could_go_if_room_is_not_what_is_missing() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=3, one={}, two={}))
    lease, idle, ended = idling(pool)
    all_of(pool.state_saver.tidy())
    (saving,) = pool.state_saver

    pool.admission.make_way("one", lease, idle)

    assert ended == ["two-1"]
    assert not machine_of(saving).is_over


def test_a_worker_whose_vm_idles_keeps_it_if_another_vm_makes_room() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=2, one={}, two={}))
    lease, idle, ended = idling(pool)
    all_of(pool.state_saver.tidy())
    (saving,) = pool.state_saver

    pool.admission.make_way("one", lease, idle)

    assert not ended
    assert machine_of(saving).is_over


def test_no_second_worker_is_freed_for_a_label_while_the_vm_of_the_first_ends() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=3, one={}, two={}))
    ending: list[Deferred[None]] = []

    def end() -> Deferred[None]:
        ending.append(Deferred())
        return ending[-1]

    idle = Idle(end)
    for worker in ("two-1", "two-2"):
        lease = pool.building("two", worker)
        lease.rest(idle)
        pool.admission.make_way("one", lease, idle)
    assert len(ending) == 1

    ending[0].callback(None)
    pool.admission.make_way("one", lease, idle)

    assert len(ending) == 2


def test_a_reservation_whose_build_does_not_start_is_void_when_a_worker_is_freed() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=2, one={}, two={}))
    lease, idle, _ended = idling(pool)
    assert pool.admission.reserve("one-1", "one", "check")

    pool.admission.make_way("one", lease, idle)

    assert pool.capacity.taken == {lease.vm.allocation}


def test_a_worker_gets_the_room_that_was_reserved_for_it_and_it_stays_taken() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), one={}))
    assert pool.admission.reserve("one-1", "one", "check")

    grant = pool.admission.reserved("one-1", "one")

    assert grant is not None
    assert pool.capacity.taken == {grant.allocation}
    assert pool.admission.reserved("one-1", "one") is None


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
        assert not pool.admission.reserve("one-1", "one", "check", size=Size(1, GIB))
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
