# SPDX-License-Identifier: GPL-2.0-only
"""A VM is started step by step, each timed, and knows its age whatever its metadata says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from latent_libvirt.errors import GuestError
from latent_libvirt.host.states.frozen import moment
from latent_libvirt.pool.vm import VM
from paper_pool import START, PaperPool, config_of, machine_of


def a_vm(pool: PaperPool) -> VM:
    allocation = pool.capacity.take("one")
    assert allocation is not None
    return pool.registry.add(allocation)


def test_its_steps_come_in_order_and_each_is_timed() -> None:
    vm = a_vm(PaperPool(config_of(one={})))
    started = Deferred.fromCoroutine(vm.start())
    steps = []
    while machine_of(vm).is_busy:
        steps.append(machine_of(vm).step)
        machine_of(vm).goes_on()

    assert started.called
    assert tuple(steps) == START
    assert list(vm.timeline.phases) == ["prepare", "clone", "boot"]
    assert vm.timeline.current is None


def steps_of(vm: VM) -> list[str]:
    """Let *vm* come up; return its steps."""
    started = Deferred.fromCoroutine(vm.start())
    steps = []
    while machine_of(vm).is_busy:
        steps.append(machine_of(vm).step)
        machine_of(vm).goes_on()
    assert started.called
    return steps


def test_a_vm_whose_slot_is_saved_is_not_booted() -> None:
    vm = a_vm(PaperPool(config_of(one={})))
    machine_of(vm).saved = "state"

    resumed = [vm.was_resumed]
    assert steps_of(vm) == ["prepare", "resume"]
    assert [*resumed, vm.was_resumed] == [False, True]
    assert list(vm.timeline.phases) == ["prepare", "resume"]


def test_a_vm_that_cannot_be_resumed_is_booted() -> None:
    vm = a_vm(PaperPool(config_of(one={})))
    machine_of(vm).saved = "state"
    machine_of(vm).is_saved_well = False

    assert steps_of(vm) == ["prepare", "resume", "clone", "boot", "wait"]


def test_a_vm_that_is_saved_on_its_way_goes_on_from_there() -> None:
    vm = a_vm(PaperPool(config_of(one={})))
    machine_of(vm).is_to_be_saved = True

    assert steps_of(vm) == [*START, "save", "resume"]
    assert list(vm.timeline.phases) == ["prepare", "clone", "boot", "save", "resume"]


def test_a_vm_that_cannot_be_resumed_from_what_was_just_saved_is_booted_again() -> None:
    vm = a_vm(PaperPool(config_of(one={})))
    machine_of(vm).is_to_be_saved = True
    machine_of(vm).is_saved_well = False

    assert steps_of(vm) == [*START, "save", "resume", "clone", "boot", "wait"]


def test_no_step_follows_one_that_failed() -> None:
    vm = a_vm(PaperPool(config_of(one={})))
    started = Deferred.fromCoroutine(vm.start())
    failures: list[object] = []
    started.addErrback(failures.append)
    machine_of(vm).goes_on()

    machine_of(vm).fails(GuestError("no"))

    assert len(failures) == 1
    assert not machine_of(vm).is_busy
    assert not vm.machine.booted


def test_it_waits_from_when_it_is_up_until_it_is_discarded() -> None:
    pool = PaperPool(config_of(one={}))
    vm = a_vm(pool)
    waits = [vm.is_waiting]
    pool.registry.start(vm)
    waits.append(vm.is_waiting)
    machine_of(vm).comes_up()
    waits.append(vm.is_waiting)
    pool.registry.discard(vm)
    waits.append(vm.is_waiting)

    assert waits == [False, False, True, False]


def test_its_age_is_counted_from_what_its_metadata_says_through_all_masters() -> None:
    pool = PaperPool(config_of(one={}))
    vm = a_vm(pool)
    vm.machine.record = replace(vm.machine.record, since="1970-01-12T13:46:00+00:00")

    assert vm.age == 1_000_000 - (11 * 24 * 3600 + 13 * 3600 + 46 * 60)


@given(st.text() | st.datetimes(timezones=st.none() | st.timezones()).map(str))
def test_whatever_is_written_there_it_has_an_age(since: str) -> None:
    pool = PaperPool(config_of(one={}))
    vm = a_vm(pool)
    vm.machine.record = replace(vm.machine.record, since=since)

    assert isinstance(vm.age, float)


@pytest.mark.parametrize("text", ["", "soon", "0001-01-01T00:00:00", "9999-12-31T23:59:59-23:59"])
def test_what_is_no_time_was_long_ago(text: str) -> None:
    assert moment(text).timestamp() == 0
