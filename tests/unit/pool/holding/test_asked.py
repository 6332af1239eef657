# SPDX-License-Identifier: GPL-2.0-only
"""Holds that operators ask for while a job runs: each is kept, or said to be lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lxml import etree
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent

from latent_libvirt.control.messages import ControlError
from latent_libvirt.control.operations import Facts, Operations
from latent_libvirt.errors import GuestError
from latent_libvirt.host.domains.domain_xml import VmRecord, record_of, record_xml
from latent_libvirt.host.domains.slot_domains import SlotDomain
from latent_libvirt.pool.holding.asked import LONGEST
from latent_libvirt.pool.leases import BACKOFF
from latent_libvirt.status.names import BuildRef
from paper_pool import PaperPool, config_of, host_of, machine_of

JOB = BuildRef("check", 7, "")
SILENT = GuestError("the VM said nothing")


@pytest.fixture
def pool() -> PaperPool:
    return PaperPool(config_of(one={}))


def asked(pool: PaperPool, seconds: float = 60.0, user: str = "olga") -> None:
    """Ask to hold a VM, as an operator does."""
    facts = Facts("host:/master", "", 1, 0.0)
    operations = Operations(pool, facts=lambda: facts, undrained=lambda _target: None)
    done = Deferred.fromCoroutine(operations.holding.hold("worker", seconds, user))
    found: list[Any] = []
    done.addBoth(found.append)
    if hasattr(found[0], "raiseException"):
        found[0].raiseException()


@contextmanager
def said(*words: str) -> Iterator[None]:
    """See that a line of the log has all these words."""
    with capturedLogs() as logged:
        yield
    lines = [formatEvent(event) for event in logged]
    assert any(all(word in line for word in words) for line in lines), lines


def adopted(pool: PaperPool, record: VmRecord) -> bool:
    """Let the next master find a domain with that record."""
    pool.begin()
    domain = SlotDomain(1, "uuid", record, vcpus=1, memory=2**30)
    return bool(pool._adopt(cast("Any", pool.paper_hosts["alpha"]), domain))


def record_of_a_job(pool: PaperPool, **changes: str) -> VmRecord:
    """Return what a VM on host alpha says of itself that is to be held after its job."""
    lease = pool.building()
    lease.job = JOB
    asked(pool)
    return replace(lease.vm.machine.record, **changes)


# What its host is said.


def test_the_record_of_the_vm_says_it_until_it_is_taken_back(pool: PaperPool) -> None:
    lease = pool.building()
    lease.job = JOB
    asked(pool, 7200.0, "o\x1blga")

    found = lease.vm.machine.record
    assert (found.hold_for, found.hold_asked_by) == ("7200.000", r"o\x1blga")
    assert (found.state, found.is_to_be_held, found.build) == ("job", True, '["check", 7, ""]')
    assert record_of(record_xml(found)) == found

    facts = Facts("host:/master", "", 1, 0.0)
    operations = Operations(pool, facts=lambda: facts, undrained=lambda _target: None)
    Deferred.fromCoroutine(operations.holding.cancel_hold("worker"))
    assert not lease.vm.machine.record.is_to_be_held
    assert "hold_for" not in etree.fromstring(record_xml(lease.vm.machine.record)).attrib
    pool.given_back(lease)
    assert not list(pool.holds)
    assert pool.lost_holds == []


def test_what_is_asked_of_a_vm_that_boots_is_recorded_again_once_it_is_up(pool: PaperPool) -> None:
    lease = pool.give()
    pool.brought_up(lease)
    asked(pool)
    machine = machine_of(lease.vm)
    before = len(machine.marks)

    machine.comes_up()
    machine.goes_on()
    lease.attached()

    assert [mark["hold_for"] for mark in machine.marks[before:]] == ["60.000"]
    pool.given_back(lease)
    assert [hold.vm for hold in pool.holds] == [lease.vm]


def test_a_host_that_cannot_record_it_is_logged_and_the_vm_is_held(pool: PaperPool) -> None:
    lease = pool.building()
    host_of(lease.vm).is_deaf = True
    with said("cannot record what is to be held", "does not answer"):
        asked(pool)
    host_of(lease.vm).is_deaf = False

    pool.given_back(lease)

    assert [hold.vm for hold in pool.holds] == [lease.vm]


# A VM that is lost before.


def test_a_vm_that_another_one_replaces_drops_it_and_says_so(pool: PaperPool) -> None:
    lease = pool.give()
    started = pool.brought_up(lease)
    first = lease.vm
    asked(pool)

    with said(f"the hold of {first} that olga has asked for is lost", SILENT.brief):
        machine_of(first).fails(SILENT)
        pool.clock.advance(BACKOFF.longest)
    assert lease.vm is not first
    assert (lease.hold_for, lease.hold_asked_by, lease.is_hold_asked) == (None, "", False)

    machine_of(lease.vm).comes_up()
    machine_of(lease.vm).goes_on()
    lease.attached()
    assert started.called
    pool.given_back(lease)
    assert not list(pool.holds), "nobody has asked to hold the second one"
    (lost,) = pool.lost_holds
    assert lost[:2] == (first.vm_id, "olga")
    (failure,) = pool.history.failures
    assert failure.vm_id == first.vm_id
    assert failure.reason == "the VM said nothing; the hold that olga has asked for is lost"
    assert lease.why_not_held.startswith(f"the hold of {first} that olga has asked for is lost")


def test_a_vm_that_is_ended_under_its_build_says_so(pool: PaperPool) -> None:
    lease = pool.building()
    asked(pool)
    lease.failure = "its kernel has panicked"
    pool.registry.discard(lease.vm)

    with said("that olga has asked for is lost: its kernel has panicked"):
        pool.given_back(lease)

    assert pool.lost_holds == [(lease.vm.vm_id, "olga", "its kernel has panicked")]
    (failure,) = pool.history.failures
    lost = "the hold that olga has asked for is lost: its kernel has panicked"
    assert failure.reason == lost
    assert not failure.is_ended_by_operator


def test_a_vm_whose_host_refuses_to_hold_it_says_so(pool: PaperPool) -> None:
    lease = pool.building()
    asked(pool)
    host_of(lease.vm).is_deaf = True

    pool.given_back(lease)

    assert pool.lost_holds == [
        (lease.vm.vm_id, "olga", f"host {lease.vm.host.name} does not answer")
    ]


def test_a_vm_that_is_not_up_when_its_job_is_cancelled_goes_and_says_so(pool: PaperPool) -> None:
    lease = pool.give()
    started = pool.brought_up(lease)
    started.addErrback(lambda _failure: None)
    asked(pool)

    started.cancel()
    pool.given_back(lease)
    pool.clock.advance(0)

    assert not list(pool.holds)
    assert not pool.capacity.taken
    assert [(user, why) for _vm, user, why in pool.lost_holds] == [
        ("olga", "the VM was not up yet when its job ended")
    ]


def test_what_a_label_wants_is_lost_without_a_word(pool: PaperPool) -> None:
    lease = pool.building()
    lease.hold_for = 60.0
    pool.registry.discard(lease.vm)

    pool.given_back(lease)

    assert pool.lost_holds == []
    assert pool.history.failures == ()


@pytest.mark.parametrize("is_released", [False, True])
def test_a_vm_that_is_about_to_go_is_refused(pool: PaperPool, *, is_released: bool) -> None:
    lease = pool.building()
    pool.paper_hosts["alpha"].frees_at_once = pool.paper_hosts["beta"].frees_at_once = False
    if is_released:
        pool.given_back(lease)
    else:
        pool.registry.discard(lease.vm)

    with pytest.raises(ControlError, match="cannot be held any more"):
        asked(pool)

    assert lease.hold_for is None


# From one master to the next.


def test_the_next_master_holds_the_vm_from_then_on(pool: PaperPool) -> None:
    record = record_of_a_job(pool)
    pool.clock.advance(600)

    assert adopted(pool, record)

    (hold,) = pool.holds
    assert (hold.seconds_left, hold.worker, hold.job) == (60, "worker", JOB)
    machine = machine_of(hold.vm)
    assert machine.is_listened_to
    assert (machine.record.state, machine.record.until) == ("held", hold.until.isoformat())
    assert machine.marks == [{"state": "held"}]
    pool.clock.advance(61)
    assert not list(pool.holds)


@pytest.mark.parametrize(
    "changes", [{"hold_for": ""}, {"label": "other"}, {"state": "saving"}, {"hold_for": "1e99"}]
)
def test_the_next_master_does_not_hold_what_nobody_has_asked_for(
    pool: PaperPool, changes: dict[str, str]
) -> None:
    assert not adopted(pool, record_of_a_job(pool, **changes))
    assert not list(pool.holds)
    assert not pool.capacity.taken


@given(st.text() | st.floats().map(str))
@example("nan")
@example("-1")
@example(str(LONGEST))
def test_whatever_somebody_has_written_there_is_bounded(text: str) -> None:
    pool = PaperPool(config_of(one={}))

    is_adopted = adopted(pool, record_of_a_job(pool, hold_for=text))

    assert is_adopted == bool(pool.capacity.taken)
    for hold in pool.holds:
        assert 0 < hold.seconds_left <= LONGEST
