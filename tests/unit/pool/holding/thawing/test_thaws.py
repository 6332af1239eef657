# SPDX-License-Identifier: GPL-2.0-only
"""A frozen VM comes back into its slot, and into no other.

The VMs are on paper; real ones are in tests/integration/host/test_freezing.py.
"""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent

from frozen_vms import (
    a_pool,
    failed,
    frozen,
    refusal,
    thawed,
    waits_although_its_slot_is_free,
    waits_for_its_slot,
)
from latent_libvirt.errors import (
    HostError,
)
from paper_pool import machine_of


def test_a_vm_is_thawed_in_its_slot_and_held_until_its_deadline() -> None:
    pool = a_pool(slots=2)
    pool.building(worker="in slot 1")
    lease = failed(pool)
    machine_of(lease.vm).goes_on()
    (vm,) = pool.frozen
    pool.clock.advance(600)

    done = thawed(pool, vm)
    machine = pool.paper_hosts["alpha"].machines[-1]
    assert (machine.step, machine.record.state, machine.plan.slot) == ("thaw", "held", 2)
    machine.goes_on()

    assert done.called
    (hold,) = pool.holds
    assert (hold.vm.vm_id, hold.seconds_left) == (lease.vm.vm_id, 3000)
    assert len(pool.capacity.taken) == 2
    assert not list(pool.frozen)


def test_whoever_thaws_it_may_give_it_another_deadline() -> None:
    pool = a_pool()
    vm = frozen(pool)

    thawed(pool, vm, 7200)
    pool.paper_hosts["alpha"].machines[-1].goes_on()

    (hold,) = pool.holds
    assert hold.seconds_left == 7200


def test_a_vm_whose_slot_is_busy_comes_back_before_any_other_gets_the_slot() -> None:
    pool = a_pool()
    vm = frozen(pool)
    other = pool.building(worker="other")

    result: list[object] = []
    thawed(pool, vm).addCallback(result.append)
    assert result == [None]
    assert pool.thaws.is_waiting(vm)
    assert pool.thaws.target(vm) == ""
    pool.given_back(other)
    assert not pool.thaws.is_waiting(vm)

    machine = pool.paper_hosts["alpha"].machines[-1]
    assert (machine.step, machine.record.vm_id) == ("thaw", vm.vm.vm_id)
    assert not pool.capacity.room("one")
    machine.goes_on()
    assert [hold.vm.vm_id for hold in pool.holds] == [vm.vm.vm_id]


def test_a_spare_gives_way_to_a_vm_that_is_thawed_in_its_slot() -> None:
    pool = a_pool(spares=1)
    vm = frozen(pool)
    pool.tidy()
    spare = pool.paper_hosts["alpha"].machines[-1]
    spare.comes_up()

    thawed(pool, vm)
    pool.clock.advance(0)

    assert pool.paper_hosts["alpha"].discarded == [spare]
    machine = pool.paper_hosts["alpha"].machines[-1]
    assert (machine.step, machine.record.vm_id) == ("thaw", vm.vm.vm_id)


def test_a_frozen_vm_can_be_released_and_its_slot_is_for_all_again() -> None:
    pool = a_pool()
    vm, other = waits_for_its_slot(pool)
    pool.paper_hosts["alpha"].usable = False
    pool.given_back(other)
    pool.paper_hosts["alpha"].usable = True
    assert not pool.capacity.room("one")

    Deferred.fromCoroutine(pool.thaws.release(vm))

    assert not list(pool.frozen)
    assert not pool.thaws.is_waiting(vm)
    assert pool.thaws.reserved() == {}
    assert pool.capacity.room("one")


def test_a_master_that_stops_thaws_nothing_in_a_slot_that_it_leaves() -> None:
    pool = a_pool()
    vm = frozen(pool)
    lease = pool.building(worker="other")
    lease.hold_for = 60.0
    pool.given_back(lease)
    thawed(pool, vm)
    assert pool.thaws.is_waiting(vm)

    Deferred.fromCoroutine(pool.stop(keep=True))

    assert pool.paper_hosts["alpha"].machines[-1] is machine_of(lease.vm), "no VM is thawed"
    assert [found.vm for found in pool.frozen] == []
    assert list(pool.paper_hosts["alpha"].frozen) == [vm.vm]


def test_two_vms_that_wait_stay_frozen_when_their_host_refuses_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = a_pool(slots=2)
    first, second = failed(pool, "first"), failed(pool, "second")
    machine_of(first.vm).goes_on()
    machine_of(second.vm).goes_on()
    others = [pool.building(worker="a"), pool.building(worker="b")]
    vms = list(pool.frozen)
    for vm in vms:
        thawed(pool, vm)
        assert pool.thaws.is_waiting(vm)
    host = pool.paper_hosts["alpha"]

    async def refuse(*_: object) -> None:
        raise HostError("there is no connection")

    monkeypatch.setattr(host.freezing, "thaw", refuse)
    host.usable = False
    for other in others:
        pool.given_back(other)
    host.usable = True
    pool.hosts_changed()

    assert [vm.vm for vm in pool.frozen] == [vm.vm for vm in vms]
    assert not any(map(pool.thaws.is_waiting, vms))
    assert not pool.capacity.taken
    assert pool.capacity.room("one")


def test_a_vm_that_waits_is_thawed_at_once_if_its_slot_turns_out_to_be_free() -> None:
    pool = a_pool()
    vm, host = waits_although_its_slot_is_free(pool)

    thawed(pool, vm)

    assert host.machines[-1].step == "thaw"
    assert not pool.thaws.is_waiting(vm)


def test_a_pool_that_has_stopped_thaws_nothing() -> None:
    pool = a_pool()
    vm, other = waits_for_its_slot(pool)
    pool.given_back(other)
    machine = pool.paper_hosts["alpha"].machines[-1]
    machine.fails(HostError("QEMU is another one"))
    pool.building(worker="another")
    thawed(pool, vm)
    assert pool.thaws.is_waiting(vm)

    Deferred.fromCoroutine(pool.thaws.stop(keep=True))

    assert not pool.thaws.is_waiting(vm)
    error = refusal(thawed(pool, vm))
    assert error.brief == (
        "VM latent-libvirt-1 on host alpha cannot be thawed: its master is being stopped"
    )


def test_only_the_spare_in_its_slot_gives_way_to_a_thawed_vm() -> None:
    pool = a_pool(slots=2, spares=2)
    vm = frozen(pool)
    pool.tidy()
    host = pool.paper_hosts["alpha"]
    spares = host.machines[-2:]
    for spare in spares:
        spare.comes_up()

    thawed(pool, vm)
    pool.clock.advance(0)

    assert host.discarded == [spare for spare in spares if spare.plan.slot == vm.vm.slot]
    assert len(host.discarded) == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            HostError("QEMU is another one"),
            "VM latent-libvirt-1 on host alpha stays frozen: QEMU is another one",
        ),
        (ZeroDivisionError("a defect"), "latent-libvirt-1 on host alpha"),
    ],
)
def test_a_thaw_that_fails_after_its_wait_is_logged(error: Exception, said: str) -> None:
    pool = a_pool()
    _, other = waits_for_its_slot(pool)
    pool.given_back(other)

    with capturedLogs() as events:
        pool.paper_hosts["alpha"].machines[-1].fails(error)

    assert said in map(formatEvent, events)
    failures = [event for event in events if "log_failure" in event]
    assert bool(failures) == isinstance(error, ZeroDivisionError)


def test_a_vm_that_cannot_be_released_now_is_not_thawed_instead() -> None:
    pool = a_pool()
    vm, other = waits_for_its_slot(pool)
    host = pool.paper_hosts["alpha"]
    host.is_deaf = True

    error = refusal(Deferred.fromCoroutine(pool.thaws.release(vm)))
    pool.given_back(other)

    assert "does not answer" in str(error)
    assert not pool.thaws.is_waiting(vm)
    assert host.machines[-1] is machine_of(other.vm)


def test_a_thaw_that_is_cancelled_leaves_its_slot_to_others_at_once() -> None:
    pool = a_pool(slots=2, max_vms=1)
    vm = frozen(pool)
    other = pool.allocator.take("one", (), {("alpha", 1)})
    assert other is not None
    thawed(pool, vm)
    assert pool.capacity.free_slots("alpha") == []

    assert pool.thaws.cancel(vm)
    assert not pool.thaws.cancel(vm)

    assert pool.capacity.free_slots("alpha") == [1]
    assert [each.vm for each in pool.frozen] == [vm.vm]


def test_a_thaw_that_waited_and_fails_when_it_is_asked_for_again_waits_no_more() -> None:
    pool = a_pool()
    vm, host = waits_although_its_slot_is_free(pool)

    asked = thawed(pool, vm)
    host.machines[-1].fails(HostError("QEMU is another one"))

    assert refusal(asked).brief == "QEMU is another one"
    assert not pool.thaws.is_waiting(vm)
    assert pool.thaws.reserved() == {}
    assert pool.capacity.room("one")
