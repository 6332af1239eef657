# SPDX-License-Identifier: GPL-2.0-only
"""A frozen VM leaves its slot at once, and comes back into it, and into no other.

The VMs are on paper; real ones are in tests/integration/host/test_freezing.py.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent

from latent_libvirt.config import PoolConfig
from latent_libvirt.config.units import GIB
from latent_libvirt.control.operations import Facts, Operations
from latent_libvirt.errors import (
    CapacityError,
    ConfigurationError,
    HostError,
    LatentLibvirtError,
)
from latent_libvirt.host.states.frozen_io import CannotBeFrozenError
from latent_libvirt.pool.holding.freezer import Frozen
from latent_libvirt.pool.lease import Lease
from latent_libvirt.pool.reasons import RoomFacts
from latent_libvirt.pool.room.amounts import Size
from latent_libvirt.status.names import BuildRef, Target
from paper_pool import PaperHost, PaperPool, config_of, host_of, machine_of


def a_pool(*, slots: int = 1, **label: object) -> PaperPool:
    one = {"hold_on_failure": "1h", "freeze": True, **label}
    return PaperPool(config_of(hosts=("alpha",), slots=slots, one=one))


def failed(pool: PaperPool, worker: str = "worker") -> Lease:
    """Let a build fail, whose VM is about to be frozen then."""
    lease = pool.building(worker=worker)
    Deferred.fromCoroutine(pool.release(lease, graceful=True, failed=True))
    return lease


def frozen(pool: PaperPool) -> Frozen:
    """Freeze the VM of a build that fails."""
    lease = failed(pool)
    machine_of(lease.vm).goes_on()
    (found,) = pool.freezer
    return found


def thawed(pool: PaperPool, vm: Frozen, seconds: float | None = None) -> Deferred[object]:
    return Deferred.fromCoroutine(pool.freezer.thaw(vm, seconds))


def refusal(asked: Deferred[object]) -> LatentLibvirtError:
    """Return the error with which *asked*, which is over, has failed."""
    errors: list[object] = []
    asked.addErrback(lambda failure: errors.append(failure.value))
    (error,) = errors
    assert isinstance(error, LatentLibvirtError)
    return error


def test_a_vm_that_is_frozen_takes_no_room_and_is_held_no_more() -> None:
    pool = a_pool()

    vm = frozen(pool)

    assert vm.vm.record.worker == "worker"
    assert not pool.capacity.taken
    assert not list(pool.holds)
    assert not list(pool.registry)
    assert pool.capacity.room("one")


def test_its_slot_is_taken_until_it_is_frozen() -> None:
    pool = a_pool()
    lease = failed(pool)

    assert machine_of(lease.vm).step == "freeze"
    assert [hold.vm for hold in pool.holds] == [lease.vm]
    assert not pool.capacity.room("one")


def test_the_space_is_what_others_have_left() -> None:
    pool = a_pool()
    host = pool.paper_hosts["alpha"]
    host.size_of_frozen = 5 * GIB

    frozen(pool)
    machine_of(failed(pool, "next").vm).goes_on()

    assert host.spaces == [20 * GIB, 15 * GIB]


def test_vms_of_one_host_are_frozen_one_after_the_other() -> None:
    pool = a_pool(slots=2)
    first, second = failed(pool, "first"), failed(pool, "second")
    assert machine_of(second.vm).step != "freeze"

    machine_of(first.vm).goes_on()

    assert machine_of(second.vm).step == "freeze"


@pytest.mark.parametrize("most", [0, 1])
def test_a_vm_that_cannot_be_frozen_is_held_in_its_slot_within_max_held(most: int) -> None:
    pool = a_pool(max_held=most)
    lease = failed(pool)

    machine_of(lease.vm).fails(CannotBeFrozenError("there is no space"))

    assert len(list(pool.holds)) == most
    assert len(pool.capacity.taken) == most


def test_a_vm_of_which_only_its_host_knows_is_left_to_it() -> None:
    pool = a_pool()
    lease = failed(pool)

    machine_of(lease.vm).fails(HostError("the connection is lost"))

    assert host_of(lease.vm).left == [machine_of(lease.vm)]
    assert not host_of(lease.vm).discarded
    assert not pool.capacity.taken
    assert not list(pool.holds)


def test_a_vm_that_is_released_while_it_is_frozen_is_gone() -> None:
    pool = a_pool()
    lease = failed(pool)
    (hold,) = pool.holds

    pool.holds.release(hold)
    pool.clock.advance(0)

    assert host_of(lease.vm).discarded == [machine_of(lease.vm)]
    assert not pool.capacity.taken
    assert not list(pool.freezer)


def test_a_vm_is_thawed_in_its_slot_and_held_until_its_deadline() -> None:
    pool = a_pool(slots=2)
    pool.building(worker="in slot 1")
    lease = failed(pool)
    machine_of(lease.vm).goes_on()
    (vm,) = pool.freezer
    pool.clock.advance(600)

    done = thawed(pool, vm)
    machine = pool.paper_hosts["alpha"].machines[-1]
    assert (machine.step, machine.record.state, machine.plan.slot) == ("thaw", "held", 2)
    machine.goes_on()

    assert done.called
    (hold,) = pool.holds
    assert (hold.vm.vm_id, hold.seconds_left) == (lease.vm.vm_id, 3000)
    assert len(pool.capacity.taken) == 2
    assert not list(pool.freezer)


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
    assert pool.freezer.is_waiting(vm)
    assert pool.freezer.target(vm) == ""
    pool.given_back(other)
    assert not pool.freezer.is_waiting(vm)

    machine = pool.paper_hosts["alpha"].machines[-1]
    assert (machine.step, machine.record.vm_id) == ("thaw", vm.vm.vm_id)
    assert not pool.capacity.room("one")
    machine.goes_on()
    assert [hold.vm.vm_id for hold in pool.holds] == [vm.vm.vm_id]


def test_the_slot_that_a_vm_waits_for_is_given_to_nobody() -> None:
    pool = a_pool(slots=2, max_vms=1)
    vm = frozen(pool)
    other = pool.allocator.take("one", (), {("alpha", 1)})
    assert other is not None
    assert other.allocation.slot == 2

    thawed(pool, vm)

    assert pool.freezer.reserved() == {"alpha": frozenset({1})}
    assert pool.freezer.is_waiting(vm), "its label has max_vms"
    pool.allocator.give_back(other)
    pool.room_changed()
    assert not pool.freezer.is_waiting(vm)
    assert pool.freezer.reserved() == {}


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


def test_a_vm_that_cannot_be_thawed_stays_frozen_and_takes_no_room() -> None:
    pool = a_pool()
    vm = frozen(pool)
    errors: list[object] = []
    thawed(pool, vm).addErrback(lambda failure: errors.append(failure.value))

    pool.paper_hosts["alpha"].machines[-1].fails(HostError("QEMU is another one"))

    (error,) = errors
    assert isinstance(error, LatentLibvirtError)
    assert [found.vm for found in pool.freezer] == [vm.vm]
    assert not pool.capacity.taken
    assert not list(pool.holds)


def test_a_vm_of_a_label_that_is_gone_cannot_be_thawed() -> None:
    pool = a_pool()
    vm = frozen(pool)
    pool.configure(config_of(hosts=("alpha",), other={}))

    error = refusal(thawed(pool, vm))

    assert isinstance(error, ConfigurationError)
    assert error.brief == (
        "VM latent-libvirt-1 on host alpha cannot be thawed: label 'one' is not configured any more"
    )
    assert error.resolution == "Put the label back into the pool's YAML file."
    assert list(pool.freezer)


def test_a_frozen_vm_can_be_released_and_its_slot_is_for_all_again() -> None:
    pool = a_pool()
    vm, other = waits_for_its_slot(pool)
    pool.paper_hosts["alpha"].usable = False
    pool.given_back(other)
    pool.paper_hosts["alpha"].usable = True
    assert not pool.capacity.room("one")

    Deferred.fromCoroutine(pool.freezer.release(vm))

    assert not list(pool.freezer)
    assert not pool.freezer.is_waiting(vm)
    assert pool.freezer.reserved() == {}
    assert pool.capacity.room("one")


def test_vms_stay_frozen_when_their_master_stops_and_not_when_their_pool_goes() -> None:
    pool = a_pool()
    frozen(pool)

    Deferred.fromCoroutine(pool.stop(keep=True))
    assert list(pool.paper_hosts["alpha"].frozen)
    pool.begin()
    Deferred.fromCoroutine(pool.stop(keep=False))

    assert not list(pool.paper_hosts["alpha"].frozen)


def test_a_label_that_does_not_ask_for_it_freezes_nothing() -> None:
    pool = a_pool(freeze=False)
    lease = failed(pool)

    assert not machine_of(lease.vm).is_busy
    assert not list(pool.freezer)


def test_a_master_that_stops_in_the_middle_leaves_the_vm_to_the_next_one() -> None:
    pool = a_pool()
    lease = failed(pool)

    Deferred.fromCoroutine(pool.stop(keep=True))
    machine_of(lease.vm).goes_on()

    assert host_of(lease.vm).left == [machine_of(lease.vm)]
    assert not host_of(lease.vm).discarded
    assert not pool.capacity.taken


def test_a_master_that_stops_thaws_nothing_in_a_slot_that_it_leaves() -> None:
    pool = a_pool()
    vm = frozen(pool)
    lease = pool.building(worker="other")
    lease.hold_for = 60.0
    pool.given_back(lease)
    thawed(pool, vm)
    assert pool.freezer.is_waiting(vm)

    Deferred.fromCoroutine(pool.stop(keep=True))

    assert pool.paper_hosts["alpha"].machines[-1] is machine_of(lease.vm), "no VM is thawed"
    assert [found.vm for found in pool.freezer] == []
    assert list(pool.paper_hosts["alpha"].frozen) == [vm.vm]


@pytest.mark.parametrize("keep", [True, False])
def test_a_master_that_stops_while_a_vm_is_thawed_holds_it_no_more(*, keep: bool) -> None:
    pool = a_pool()
    errors: list[object] = []
    thawed(pool, frozen(pool)).addErrback(lambda failure: errors.append(failure.value))
    host = pool.paper_hosts["alpha"]
    machine = host.machines[-1]

    Deferred.fromCoroutine(pool.stop(keep=keep))
    if keep:
        machine.goes_on()
    pool.clock.advance(0)

    assert (host.left if keep else host.discarded) == [machine]
    assert isinstance(errors[0], LatentLibvirtError)
    assert not list(pool.holds)
    assert not list(pool.registry)
    assert not pool.clock.getDelayedCalls()


def test_a_vm_that_is_released_while_it_is_thawed_is_gone() -> None:
    pool = a_pool()
    vm = frozen(pool)
    errors: list[object] = []
    thawed(pool, vm).addErrback(lambda failure: errors.append(failure.value))
    host = pool.paper_hosts["alpha"]

    Deferred.fromCoroutine(pool.freezer.release(vm))
    pool.clock.advance(0)

    assert host.discarded == [host.machines[-1]]
    assert not list(pool.holds)
    assert not pool.capacity.taken
    assert isinstance(errors[0], LatentLibvirtError)
    assert not list(pool.freezer)


def waits_for_its_slot(pool: PaperPool) -> tuple[Frozen, Lease]:
    vm = frozen(pool)
    other = pool.building(worker="other")
    thawed(pool, vm)
    assert pool.freezer.is_waiting(vm)
    return vm, other


def test_a_vm_that_waits_is_thawed_although_its_host_was_configured_again() -> None:
    pool = a_pool()
    vm, other = waits_for_its_slot(pool)
    pool.configure(config_of(hosts=("beta",), slots=1, one={}))
    pool.paper_hosts["alpha"].usable = False  # it is closed
    again = pool.paper_hosts["alpha"] = PaperHost("alpha", pool.clock)
    again.usable = False  # it is not swept yet
    pool.configure(config_of(hosts=("alpha",), slots=1, one={}))
    again.frozen.add(vm.vm)
    again.usable = True

    pool.given_back(other)

    assert again.machines[-1].step == "thaw"


def test_a_vm_that_is_gone_keeps_its_slot_from_nobody() -> None:
    pool = a_pool()
    vm, other = waits_for_its_slot(pool)
    host = pool.paper_hosts["alpha"]
    host.usable = False
    pool.given_back(other)
    host.usable = True
    host.frozen.remove(vm.vm.vm_id)  # as its deadline does
    pool.hosts_changed()

    assert not pool.freezer.is_waiting(vm)
    assert pool.freezer.reserved() == {}
    assert pool.capacity.room("one")


def test_a_vm_whose_label_is_gone_keeps_its_slot_from_nobody_and_waits_no_more() -> None:
    pool = a_pool()
    vm, other = waits_for_its_slot(pool)
    with_label = pool.config

    pool.configure(config_of(hosts=("alpha",), slots=1, other={}))
    assert pool.freezer.reserved() == {}
    assert "label 'one' is not configured any more" in pool.freezer.given_up(vm)
    pool.configure(with_label)
    pool.given_back(other)
    assert [each.vm for each in pool.freezer] == [vm.vm]

    thawed(pool, vm)
    assert pool.freezer.given_up(vm) == ""
    assert pool.paper_hosts["alpha"].machines[-1].record.vm_id == vm.vm.vm_id


def test_a_slot_is_for_all_again_as_soon_as_no_vm_waits_for_it() -> None:
    pool = a_pool()
    _, other = waits_for_its_slot(pool)
    pool.given_back(other)

    pool.paper_hosts["alpha"].machines[-1].fails(HostError("QEMU is another one"))

    assert pool.capacity.room("one")


def test_a_thawed_vm_counts_as_large_as_it_is_although_its_label_got_smaller() -> None:
    pool = a_pool(vcpus=4, memory="4GiB")
    vm = frozen(pool)
    smaller = {"hold_on_failure": "1h", "freeze": True, "vcpus": 1, "memory": "1GiB"}
    pool.configure(config_of(hosts=("alpha",), slots=1, one=smaller))

    thawed(pool, vm)
    pool.paper_hosts["alpha"].machines[-1].goes_on()

    (hold,) = pool.holds
    assert hold.vm.allocation.size == Size(4, 4 * GIB)
    assert pool.capacity.given("alpha") == Size(4, 4 * GIB)


@pytest.mark.parametrize(
    "changes", [{"labels": {"one": {"hosts": ["beta"]}}}, {"hosts": {"alpha": {"memory": "2GiB"}}}]
)
def test_a_vm_that_can_never_be_thawed_is_refused_and_keeps_no_slot(
    changes: dict[str, dict[str, dict[str, object]]],
) -> None:
    pool = a_pool(memory="4GiB")
    vm, _ = waits_for_its_slot(pool)
    small = {"hold_on_failure": "1h", "freeze": True, "memory": "1GiB"}
    plain = config_of(slots=1, one=small, two={"memory": "1GiB"}).model_dump(mode="json")
    plain["labels"]["one"].update(changes.get("labels", {}).get("one", {}))
    plain["hosts"]["alpha"].update(changes.get("hosts", {}).get("alpha", {}))
    pool.configure(PoolConfig.model_validate(plain))
    errors: list[object] = []

    thawed(pool, vm).addErrback(lambda failure: errors.append(failure.value))

    assert isinstance(errors[0], ConfigurationError)
    assert pool.freezer.reserved() == {}


def test_a_vm_of_a_drained_label_keeps_its_slot_from_nobody() -> None:
    pool = a_pool()
    vm, other = waits_for_its_slot(pool)
    pool.capacity.drained |= {Target("label", "one")}
    pool.hosts_changed()
    pool.given_back(other)
    assert pool.freezer.is_waiting(vm)

    assert pool.freezer.reserved() == {}
    pool.capacity.drained = frozenset()
    pool.hosts_changed()

    assert pool.paper_hosts["alpha"].machines[-1].step == "thaw"


def test_a_thawed_vm_belongs_to_its_build_again_whose_terminals_are_recorded() -> None:
    pool = a_pool(record_terminals=True)
    lease = pool.building()
    lease.job = BuildRef("check", 7, "")
    Deferred.fromCoroutine(pool.release(lease, graceful=True, failed=True))
    machine_of(lease.vm).goes_on()
    (vm,) = pool.freezer

    thawed(pool, vm)
    pool.paper_hosts["alpha"].machines[-1].goes_on()

    (hold,) = pool.holds
    assert hold.job == lease.job
    operations = Operations(pool, facts=lambda: Facts("", "", 0, 0.0), undrained=lambda _: None)
    (shown,) = operations.vms()
    assert shown.recorded is not None


def test_two_vms_that_wait_stay_frozen_when_their_host_refuses_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = a_pool(slots=2)
    first, second = failed(pool, "first"), failed(pool, "second")
    machine_of(first.vm).goes_on()
    machine_of(second.vm).goes_on()
    others = [pool.building(worker="a"), pool.building(worker="b")]
    vms = list(pool.freezer)
    for vm in vms:
        thawed(pool, vm)
        assert pool.freezer.is_waiting(vm)
    host = pool.paper_hosts["alpha"]

    async def refuse(*_: object) -> None:
        raise HostError("there is no connection")

    monkeypatch.setattr(host.freezing, "thaw", refuse)
    host.usable = False
    for other in others:
        pool.given_back(other)
    host.usable = True
    pool.hosts_changed()

    assert [vm.vm for vm in pool.freezer] == [vm.vm for vm in vms]
    assert not any(map(pool.freezer.is_waiting, vms))
    assert not pool.capacity.taken
    assert pool.capacity.room("one")


def test_a_build_that_has_to_wait_for_the_slot_of_a_frozen_vm_is_said_why() -> None:
    pool = a_pool()
    frozen_vm, other = waits_for_its_slot(pool)
    pool.paper_hosts["alpha"].usable = False
    pool.given_back(other)
    assert pool.freezer.is_waiting(frozen_vm)
    pool.hosts_changed()

    facts = RoomFacts(pool.config, pool.capacity, {}, {}, (), pool.freezer.reserved())
    why = facts.why_no_room("one")

    assert why is not None
    assert "about to be thawed in its slots 1" in why.reason.text


# What is about to be frozen.


def test_a_vm_that_leaves_its_slot_soon_is_none_of_those_that_a_label_holds() -> None:
    pool = a_pool(slots=2, max_held=1)
    first, second = failed(pool, "first"), failed(pool, "second")
    assert pool.freezer.freezing("one") == 2
    assert pool.freezer.freezing("two") == 0

    machine_of(first.vm).fails(CannotBeFrozenError("there is no space"))
    assert pool.freezer.freezing("one") == 1
    machine_of(second.vm).goes_on()

    assert [hold.vm for hold in pool.holds] == [first.vm]
    assert pool.freezer.freezing("one") == 0


def test_only_a_held_vm_that_stays_in_its_slot_is_to_be_released_for_others() -> None:
    pool = a_pool()
    lease = failed(pool)
    assert pool.held_places() == {}

    machine_of(lease.vm).fails(CannotBeFrozenError("there is no space"))

    assert pool.held_places() == {lease.vm.allocation: lease.vm.vm_id}
    with pytest.raises(CapacityError) as caught:
        pool.lease("next", "one")
    command = f"latent-libvirt release {lease.vm.vm_id} frees its place."
    assert f"VM {lease.vm.vm_id} is held: {command}" in str(caught.value.details)


def test_a_vm_that_is_released_before_its_turn_is_not_frozen() -> None:
    pool = a_pool(slots=2)
    first, second = failed(pool, "first"), failed(pool, "second")
    host = host_of(first.vm)

    pool.holds.release(next(hold for hold in pool.holds if hold.vm is second.vm))
    machine_of(first.vm).goes_on()

    assert len(host.spaces) == 1
    assert [vm.vm.vm_id for vm in pool.freezer] == [first.vm.vm_id]


def test_a_host_that_has_left_the_file_has_no_space_for_the_next_vm() -> None:
    pool = a_pool(slots=2)
    first, second = failed(pool, "first"), failed(pool, "second")
    host = host_of(first.vm)
    pool.configure(config_of(hosts=("beta",), one={"hold_on_failure": "1h", "freeze": True}))

    machine_of(first.vm).goes_on()
    machine_of(second.vm).fails(CannotBeFrozenError("there is no space"))

    assert host.spaces[1:] == [0]


# What is about to be thawed.


def test_a_vm_that_waits_is_thawed_at_once_if_its_slot_turns_out_to_be_free() -> None:
    pool = a_pool()
    vm, other = waits_for_its_slot(pool)
    host = pool.paper_hosts["alpha"]
    host.usable = False
    pool.given_back(other)
    host.usable = True

    thawed(pool, vm)

    assert host.machines[-1].step == "thaw"
    assert not pool.freezer.is_waiting(vm)


def test_a_vm_that_is_thawed_already_is_not_thawed_again() -> None:
    pool = a_pool()
    vm = frozen(pool)
    thawed(pool, vm)

    error = refusal(thawed(pool, vm))

    assert error.brief == "VM latent-libvirt-1 on host alpha is being thawed already"
    assert not pool.freezer.is_waiting(vm)


def test_a_pool_that_has_stopped_thaws_nothing() -> None:
    pool = a_pool()
    vm, other = waits_for_its_slot(pool)
    pool.given_back(other)
    machine = pool.paper_hosts["alpha"].machines[-1]
    machine.fails(HostError("QEMU is another one"))
    pool.building(worker="another")
    thawed(pool, vm)
    assert pool.freezer.is_waiting(vm)

    Deferred.fromCoroutine(pool.freezer.stop(keep=True))

    assert not pool.freezer.is_waiting(vm)
    error = refusal(thawed(pool, vm))
    assert error.brief == (
        "VM latent-libvirt-1 on host alpha cannot be thawed: its master is being stopped"
    )


def test_a_slot_with_a_domain_of_somebody_else_is_waited_for() -> None:
    pool = a_pool()
    vm = frozen(pool)
    pool.paper_hosts["alpha"].blocked_slots = frozenset({1})

    thawed(pool, vm)

    assert pool.freezer.is_waiting(vm)
    pool.paper_hosts["alpha"].blocked_slots = frozenset()
    pool.hosts_changed()
    assert not pool.freezer.is_waiting(vm)


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


def test_nothing_else_gets_the_slot_as_soon_as_a_vm_waits_for_it() -> None:
    pool = a_pool(slots=2, max_vms=1)
    vm = frozen(pool)
    other = pool.allocator.take("one", (), {("alpha", 1)})
    assert other is not None
    thawed(pool, vm)
    pool.configure(config_of(hosts=("alpha",), slots=2, one={"max_vms": 2}, two={}))
    pool.paper_hosts["alpha"].blocked_slots = frozenset({1})

    assert not pool.freezer.go_on()
    assert not pool.capacity.room("two")


def test_a_record_says_since_when_and_from_what_a_thawed_vm_runs() -> None:
    pool = a_pool()
    vm = frozen(pool)
    record = replace(vm.vm.record, state="freezing", saved="the state")
    pool.clock.advance(0.5)

    thawed(pool, Frozen(vm.host, replace(vm.vm, record=record)), 7200)

    thawing = pool.paper_hosts["alpha"].machines[-1].record
    assert (thawing.state, thawing.saved) == ("held", "the state")
    assert thawing.until == "1970-01-12T15:46:40+00:00"


def test_a_vm_whose_size_its_host_does_not_know_is_as_large_as_its_label_says() -> None:
    pool = a_pool(vcpus=2, memory="1GiB")
    vm = frozen(pool)

    thawed(pool, Frozen(vm.host, replace(vm.vm, vcpus=0, memory=0)))

    assert pool.capacity.given("alpha") == Size(2, GIB)


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


def test_why_a_thaw_was_given_up_is_known_as_long_as_the_vm_is_there() -> None:
    pool = a_pool(slots=2)
    first, second = failed(pool, "first"), failed(pool, "second")
    machine_of(first.vm).goes_on()
    machine_of(second.vm).goes_on()
    given_up, waiting = pool.freezer
    with_label = pool.config
    others = [pool.building(worker="a"), pool.building(worker="b")]
    thawed(pool, given_up)
    pool.configure(config_of(hosts=("alpha",), slots=2, other={}))
    pool.configure(with_label)
    thawed(pool, waiting)
    assert pool.freezer.is_waiting(waiting)
    pool.room_changed()
    assert "label 'one'" in pool.freezer.given_up(given_up)
    Deferred.fromCoroutine(pool.freezer.release(given_up))
    pool.room_changed()

    assert pool.freezer.given_up(given_up) == ""
    assert len(others) == 2


def test_a_vm_that_cannot_be_released_now_is_not_thawed_instead() -> None:
    pool = a_pool()
    vm, other = waits_for_its_slot(pool)
    host = pool.paper_hosts["alpha"]
    host.is_deaf = True

    error = refusal(Deferred.fromCoroutine(pool.freezer.release(vm)))
    pool.given_back(other)

    assert "does not answer" in str(error)
    assert not pool.freezer.is_waiting(vm)
    assert host.machines[-1] is machine_of(other.vm)


def test_vms_on_their_way_out_of_their_slots_leave_room_within_max_held() -> None:
    pool = a_pool(slots=3, max_held=1)
    failed(pool, "first")
    failed(pool, "second")
    changed = {"hold_on_failure": "1h", "max_held": 1}
    pool.configure(config_of(hosts=("alpha",), slots=3, one=changed))

    third = failed(pool, "third")

    assert (third.why_not_held, third.is_to_be_frozen) == ("", False)
    assert third.vm in [hold.vm for hold in pool.holds]
