# SPDX-License-Identifier: GPL-2.0-only
"""Each VM is started once and discarded once, and has its allocation until it is gone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from latent_libvirt.errors import CapacityError, GuestError, HostError, LatentLibvirtError
from latent_libvirt.pool.events import NullEvents
from latent_libvirt.pool.room.allocations import Allocation
from latent_libvirt.pool.vm import VM
from paper_pool import PaperPool, config_of, host_of, machine_of

REFUSED = HostError("the host refused")


@pytest.fixture
def pool() -> PaperPool:
    return PaperPool(config_of(one={}))


def a_place(pool: PaperPool) -> Allocation:
    allocation = pool.capacity.take("one")
    assert allocation is not None
    return allocation


@pytest.fixture
def vm(pool: PaperPool) -> VM:
    return pool.registry.add(a_place(pool))


def failure_of(deferred: Deferred[Any]) -> BaseException:
    failures: list[Any] = []
    deferred.addErrback(failures.append)
    value: BaseException = failures[0].value
    return value


class Heard(NullEvents):
    """Remembers what becomes of VMs."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []

    def vm_started(self, allocation: Allocation) -> None:
        self.heard.append(("started", allocation))

    def vm_is_up(self, allocation: Allocation, phases: Mapping[str, float]) -> None:
        self.heard.append(("up", allocation, *phases))

    def vm_failed(self, allocation: Allocation, error: LatentLibvirtError) -> None:
        self.heard.append(("failed", allocation, error))

    def vm_ended(self, allocation: Allocation, phases: Mapping[str, float]) -> None:
        self.heard.append(("ended", allocation, *phases))


@pytest.fixture
def heard(pool: PaperPool) -> list[tuple[object, ...]]:
    """Return what becomes of the VMs of *pool*, as it is reported."""
    events = pool.registry.events = Heard()
    return events.heard


def test_what_becomes_of_a_vm_is_reported_step_by_step(
    pool: PaperPool, heard: list[tuple[object, ...]]
) -> None:
    place = a_place(pool)
    vm = pool.registry.add(place)
    assert heard == [("started", place)]
    pool.registry.start(vm)
    machine_of(vm).comes_up()
    wakes = pool.wakes
    pool.registry.discard(vm)

    assert heard[1:] == [("up", place, "prepare", "clone", "boot"), ("ended", place, "tear-down")]
    assert pool.wakes > wakes


def test_a_vm_that_came_up_makes_others_look_for_room(pool: PaperPool, vm: VM) -> None:
    pool.registry.start(vm)
    wakes = pool.wakes

    machine_of(vm).comes_up()

    assert pool.wakes == wakes + 1


def test_a_vm_that_came_up_ends_the_count_of_failures_of_its_host() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=9, one={"max_vms": 9}))
    for comes_up in (False, False, True, False, False):
        vm = pool.registry.add(a_place(pool))
        pool.registry.start(vm).wait().addErrback(lambda _: None)
        if comes_up:
            machine_of(vm).comes_up()
        else:
            machine_of(vm).fails(REFUSED)

    assert not pool.host_backoff.hosts()


def test_a_defect_is_reported_and_says_nothing_of_the_host(
    pool: PaperPool, heard: list[tuple[object, ...]]
) -> None:
    vm = pool.give().vm
    heard.clear()
    for _ in range(5):
        pool.registry.note_unexpected(vm, REFUSED)

    assert heard == [("failed", vm.allocation, REFUSED)] * 5
    assert not pool.host_backoff.hosts()
    assert [failure.reason for failure in pool.history.failures] == [REFUSED.brief] * 5


def test_a_vm_that_an_operator_has_ended_is_in_the_history_and_no_failure(
    pool: PaperPool, vm: VM, heard: list[tuple[object, ...]]
) -> None:
    vm.is_ended_by_operator = True

    pool.registry.note_failure(vm, REFUSED)

    assert heard == []
    assert len(pool.history.failures) == 1


def test_a_vm_that_is_frozen_has_ended_and_its_slot_was_used_until_then(
    pool: PaperPool, vm: VM, heard: list[tuple[object, ...]]
) -> None:
    pool.registry.start(vm)
    machine_of(vm).comes_up()
    frozen = Deferred.fromCoroutine(pool.registry.freeze(vm, 1))
    wakes = pool.wakes
    machine_of(vm).goes_on()

    assert frozen.called
    assert heard[1:] == [("ended", vm.allocation, "freeze")]
    assert pool.registry.discard(vm).called
    assert host_of(vm).discarded == []
    assert vm not in list(pool.registry)
    assert pool.wakes > wakes
    (use,) = pool.history.uses(())
    assert (use.vm_id, use.ended) == (vm.vm_id, pool.now)


def test_a_vm_that_is_left_while_it_is_frozen_ends_once(
    pool: PaperPool, vm: VM, heard: list[tuple[object, ...]]
) -> None:
    frozen = Deferred.fromCoroutine(pool.registry.freeze(vm, 1))
    pool.registry.leave_running(vm)
    machine_of(vm).goes_on()

    assert frozen.called
    assert heard == []


def test_a_vm_that_ends_is_not_left_to_its_host(pool: PaperPool, vm: VM) -> None:
    pool.registry.discard(vm)

    pool.registry.leave_to_the_host(vm)
    assert pool.registry.leave_running(vm).called

    assert host_of(vm).left == []


def test_a_start_asked_for_twice_is_one(pool: PaperPool, vm: VM) -> None:
    first, second = pool.registry.start(vm), pool.registry.start(vm)
    assert first is second

    machine_of(vm).comes_up()

    assert pool.registry.start(vm) is first
    assert first.wait().called
    assert not machine_of(vm).is_busy, "it did not begin again"


def test_who_asks_later_hears_of_the_failure_too(pool: PaperPool, vm: VM) -> None:
    waiter = pool.registry.start(vm).wait()

    machine_of(vm).fails(REFUSED)

    assert failure_of(waiter) is REFUSED
    assert failure_of(pool.registry.start(vm).wait()) is REFUSED
    assert pool.told.failed_vms == [REFUSED], "it is counted once"


def test_who_gives_up_waiting_ends_it_for_nobody_else(pool: PaperPool, vm: VM) -> None:
    impatient, tested = pool.registry.start(vm).wait(), pool.registry.start(vm).wait()

    impatient.addErrback(lambda _: None).cancel()
    machine_of(vm).comes_up()

    assert tested.called
    assert vm.is_waiting


def test_a_discard_asked_for_twice_is_one(pool: PaperPool, vm: VM) -> None:
    host_of(vm).frees_at_once = False
    ends = [pool.registry.discard(vm), pool.registry.discard(vm)]
    assert not any(end.called for end in ends)
    assert vm.allocation in pool.capacity.taken

    host_of(vm).frees()

    assert all(end.called for end in [*ends, pool.registry.discard(vm)])
    assert host_of(vm).discarded == [machine_of(vm)]
    assert vm.allocation not in pool.capacity.taken
    assert vm not in list(pool.registry)


def test_a_place_is_given_back_although_the_tear_down_failed(
    pool: PaperPool, vm: VM, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_machine: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(vm.host, "discard", fail)

    assert isinstance(failure_of(pool.registry.discard(vm)), ZeroDivisionError)
    assert not pool.capacity.taken


def test_a_failure_while_it_is_discarded_is_nobodys(pool: PaperPool, vm: VM) -> None:
    host_of(vm).frees_at_once = False
    started = pool.registry.start(vm).wait()
    pool.registry.discard(vm)

    machine_of(vm).fails(REFUSED)

    assert failure_of(started) is REFUSED
    assert not pool.told.failed_vms


def test_three_failures_set_a_host_aside_and_those_while_discarding_do_not_count() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=9, one={"max_vms": 9}))
    for discarded in (True, True, True, False, False, False):
        assert not pool.host_backoff.hosts()
        vm = pool.registry.add(a_place(pool))
        pool.registry.start(vm).wait().addErrback(lambda _: None)
        if discarded:
            pool.registry.discard(vm)
        machine_of(vm).fails(REFUSED)

    assert list(pool.host_backoff.hosts()) == ["alpha"]


def test_a_slot_that_another_master_has_taken_is_told_but_not_the_hosts_fault() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=9, one={"max_vms": 9}))
    for _ in range(5):
        vm = pool.registry.add(a_place(pool))
        pool.registry.start(vm).wait().addErrback(lambda _: None)
        machine_of(vm).fails(CapacityError("taken"))

    assert len(pool.told.failed_vms) == 5
    assert not pool.host_backoff.hosts()


def test_a_vm_that_is_up_lets_the_next_one_start() -> None:
    config = config_of(hosts=("alpha",), slots=2, one={})
    document = config.model_dump(mode="json")
    document["hosts"]["alpha"]["max_starting"] = 1
    pool = PaperPool(type(config).model_validate(document))
    vm = pool.registry.add(a_place(pool))
    pool.registry.start(vm)
    assert pool.capacity.take("one") is None

    machine_of(vm).comes_up()

    assert pool.capacity.take("one") is not None


def test_one_that_is_adopted_is_only_greeted(pool: PaperPool, vm: VM) -> None:
    found = pool.registry.adopt(a_place(pool), vm.machine.record)
    started = pool.registry.start(found).wait()
    assert machine_of(found).step == "wait"

    machine_of(found).goes_on()

    assert started.called


def test_one_that_does_not_answer_its_new_master_is_counted(pool: PaperPool, vm: VM) -> None:
    found = pool.registry.adopt(a_place(pool), vm.machine.record)
    host_of(found).is_deaf = True

    assert isinstance(failure_of(pool.registry.start(found).wait()), HostError)
    assert len(pool.told.failed_vms) == 1


def test_one_that_is_let_go_runs_on_and_gives_its_place_back(pool: PaperPool, vm: VM) -> None:
    pool.registry.start(vm)
    machine_of(vm).comes_up()

    assert pool.registry.leave_running(vm).called

    assert host_of(vm).left == [machine_of(vm)]
    assert not host_of(vm).discarded
    assert not pool.capacity.taken


def test_a_discard_after_that_does_nothing_to_it(pool: PaperPool, vm: VM) -> None:
    pool.registry.leave_running(vm)

    assert pool.registry.discard(vm).called

    assert not host_of(vm).discarded


def test_an_error_that_its_introduction_brings_is_the_hosts_too(pool: PaperPool, vm: VM) -> None:
    error = GuestError("it did not attach")

    pool.registry.note_failure(vm, error)

    assert pool.told.failed_vms == [error]
