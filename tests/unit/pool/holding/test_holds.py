# SPDX-License-Identifier: GPL-2.0-only
"""A VM that is held goes at its deadline, when it is released or dies, and outlives its master.

The VMs are on paper; real ones are in tests/integration/test_kept_vms.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent

from latent_libvirt.config import PoolConfig
from latent_libvirt.config.units import GIB
from latent_libvirt.errors import HostError
from latent_libvirt.host.domains.domain_xml import VmRecord
from latent_libvirt.host.domains.slot_domains import SlotDomain
from latent_libvirt.pool.holding.holds import Hold
from latent_libvirt.pool.lease import Lease
from latent_libvirt.pool.plan import machine_plan
from latent_libvirt.pool.room.amounts import Size
from latent_libvirt.pool.vm import VM
from latent_libvirt.status.names import BuildRef
from paper_pool import OWNER, PaperPool, config_of, host_of, machine_of

JOB = BuildRef("check", 7, "")


def held(pool: PaperPool, seconds: float = 60.0, *, worker: str = "worker") -> VM:
    """Hold a VM whose job has ended."""
    lease = pool.building(worker=worker)
    lease.job = JOB
    lease.hold_for = seconds
    assert pool.given_back(lease).called
    return lease.vm


def record_of(pool: PaperPool, *, seconds: float = 60.0, **changes: str) -> VmRecord:
    """Return what the metadata of a VM says that an earlier master has held."""
    elsewhere = PaperPool(pool.config)
    hold = _hold_of(elsewhere, held(elsewhere, seconds))
    facts = {"state": "held", "until": _until(hold), **changes}
    return replace(hold.vm.machine.record, **facts)


def _hold_of(pool: PaperPool, vm: VM) -> Hold:
    return next(hold for hold in pool.holds if hold.vm is vm)


def _until(hold: Hold) -> str:
    return machine_of(hold.vm).marks[-1]["until"]


def is_gone(pool: PaperPool, vm: VM) -> bool:
    return machine_of(vm) in host_of(vm).discarded and vm.allocation not in pool.capacity.taken


def test_its_host_and_all_who_look_are_told_until_when() -> None:
    pool = PaperPool(config_of(one={}))
    vm = held(pool, 60.0)

    hold = _hold_of(pool, vm)

    assert machine_of(vm).marks == [
        {
            "state": "held",
            "until": hold.until.isoformat(),
            "build": '["check", 7, ""]',
        }
    ]
    assert hold.until.timestamp() == pool.clock.seconds() + 60
    assert (hold.job, hold.worker) == (JOB, "worker")
    pool.clock.advance(15)
    assert hold.seconds_left == 45


def test_it_goes_at_its_deadline_and_not_before() -> None:
    pool = PaperPool(config_of(one={}))
    vm = held(pool, 60.0)

    pool.clock.advance(59)
    assert not is_gone(pool, vm)
    pool.clock.advance(1)

    assert is_gone(pool, vm)
    assert not list(pool.holds)


def test_it_goes_when_it_is_released_and_its_deadline_does_nothing_more() -> None:
    pool = PaperPool(config_of(one={}))
    vm = held(pool, 60.0)

    with capturedLogs() as events:
        pool.holds.release(_hold_of(pool, vm))
        pool.clock.advance(0)

    assert is_gone(pool, vm)
    assert not pool.clock.getDelayedCalls()
    assert not [event for event in events if "its time is up" in formatEvent(event)]


def test_its_deadline_has_no_fraction_of_a_second() -> None:
    pool = PaperPool(config_of(one={}))
    pool.clock.advance(0.25)

    vm = held(pool, 60.0)

    assert machine_of(vm).marks[-1]["until"] == "1970-01-12T13:47:40+00:00"


def test_the_time_that_it_has_left_is_that_of_its_alarm_although_the_clock_was_set() -> None:
    pool = PaperPool(config_of(one={}))
    hold = _hold_of(pool, held(pool, 60.0))

    hold.alarm.delay(100)
    assert hold.seconds_left == 160
    pool.holds.forget(hold)

    assert hold.seconds_left == 60
    pool.clock.advance(61)
    assert hold.seconds_left == 0


def test_who_releases_it_twice_waits_for_the_same_end() -> None:
    pool = PaperPool(config_of(one={}))
    vm = held(pool)
    host_of(vm).frees_at_once = False
    hold = _hold_of(pool, vm)

    ends = [pool.holds.release(hold), pool.holds.release(hold)]
    assert not any(end.called for end in ends)
    host_of(vm).frees()

    assert all(end.called for end in ends)
    assert len(host_of(vm).discarded) == 1


def test_its_place_is_given_back_when_it_dies() -> None:
    pool = PaperPool(config_of(one={}))
    vm = held(pool)

    machine_of(vm).dies()

    assert is_gone(pool, vm)
    assert not list(pool.holds)


def test_a_vm_that_dies_while_it_is_being_held_is_not_held() -> None:
    pool = PaperPool(config_of(one={}))
    lease = pool.building()
    machine_of(lease.vm).dies()
    lease.hold_for = 60.0

    pool.given_back(lease)

    assert is_gone(pool, lease.vm)
    assert not list(pool.holds)


def test_a_vm_whose_host_cannot_be_told_is_not_held() -> None:
    pool = PaperPool(config_of(one={}))
    lease = pool.building()
    host_of(lease.vm).is_deaf = True
    kept = Deferred.fromCoroutine(pool.holds.keep(lease.vm, 60.0, None))

    failures: list[Any] = []
    kept.addErrback(failures.append)

    assert failures[0].check(HostError)
    assert not list(pool.holds)
    assert not pool.clock.getDelayedCalls()


def test_it_counts_within_the_caps() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=1, one={}))
    held(pool)

    assert not pool.allocator.has("one")


def test_all_go_when_the_pool_is_removed() -> None:
    pool = PaperPool(config_of(slots=4, one={"max_vms": 3}))
    vms = [held(pool, worker=f"worker-{n}") for n in range(3)]

    Deferred.fromCoroutine(pool.holds.end())

    assert all(is_gone(pool, vm) for vm in vms)


# From one master to the next.


def test_the_next_master_holds_it_for_the_rest_of_its_time() -> None:
    pool = PaperPool(config_of(one={}))
    vm = held(pool, 60.0)
    record = replace(vm.machine.record, state="held", until=_until(_hold_of(pool, vm)))
    pool.clock.advance(20)
    Deferred.fromCoroutine(pool.holds.leave_running())
    assert host_of(vm).left == [machine_of(vm)]
    assert not list(pool.holds)
    assert not pool.clock.getDelayedCalls()
    assert not pool.capacity.taken

    pool.begin()
    assert pool.holds.adopt(vm.host.name, vm.allocation.slot, record)

    (hold,) = pool.holds
    assert hold.seconds_left == 40
    assert [(p.host, p.slot) for p in pool.capacity.taken] == [(vm.host.name, vm.allocation.slot)]
    pool.clock.advance(39)
    assert list(pool.holds) == [hold]
    pool.clock.advance(1)
    assert is_gone(pool, hold.vm)
    assert not host_of(vm).discarded.count(machine_of(vm)), "the last master does nothing more"


@pytest.mark.parametrize(("state", "marks"), [("held", []), ("freezing", [{"state": "held"}])])
def test_a_vm_that_was_to_be_frozen_and_has_not_been_is_held(
    state: str, marks: list[dict[str, str]]
) -> None:
    pool = PaperPool(config_of(one={}))

    assert pool.holds.adopt("alpha", 1, record_of(pool, state=state))

    machine = pool.paper_hosts["alpha"].machines[-1]
    assert machine.is_listened_to
    assert machine.marks == marks


def test_the_size_that_its_build_has_chosen_counts_if_its_host_says_no_other() -> None:
    choice: dict[str, object] = {"vcpus": {"min": 1, "max": 6, "default": 2}, "memory": "1GiB"}
    pool = PaperPool(config_of(one=choice))

    assert pool.holds.adopt("alpha", 1, record_of(pool, size=f"5x{GIB}"))

    assert pool.capacity.given("alpha") == Size(5, GIB)


def test_a_vm_whose_time_is_up_at_this_moment_is_not_held() -> None:
    pool = PaperPool(config_of(one={}))
    record = record_of(pool, seconds=60.0)
    pool.clock.advance(59)
    assert pool.holds.adopt("alpha", 1, record)
    pool.clock.advance(1)

    assert not pool.holds.adopt("alpha", 2, record)


def test_it_is_held_on_although_no_vm_could_start_there_now() -> None:
    pool = PaperPool(config_of(one={}))
    record = record_of(pool)
    config = config_of(slots=0, max_vms=0, one={})
    after = PaperPool(config)

    assert after.holds.adopt("alpha", 1, record)
    assert after.holds.count("one") == 1


def test_it_is_held_on_although_its_host_cannot_be_listened_to() -> None:
    pool = PaperPool(config_of(one={}))
    pool.paper_hosts["alpha"].is_deaf = True

    assert pool.holds.adopt("alpha", 1, record_of(pool))


@pytest.mark.parametrize(
    ("changes", "config"),
    [
        ({"until": "2001-01-01T00:00:00+00:00"}, config_of(one={})),
        ({"label": "other"}, config_of(one={})),
        ({}, config_of(other={})),
    ],
    ids=["time is up", "unknown label", "label has gone"],
)
def test_the_next_master_does_not_hold_what_nobody_wants(
    changes: dict[str, str], config: PoolConfig
) -> None:
    pool = PaperPool(config)
    pool.clock.advance(1_000_000_000)  # that is in 2001
    record = replace(record_of(PaperPool(config_of(one={})), seconds=2e9), **changes)

    assert not pool.holds.adopt("alpha", 1, record)
    assert not pool.capacity.taken


def test_what_is_in_a_slot_that_is_taken_is_not_held() -> None:
    pool = PaperPool(config_of(one={}))
    pool.building()

    assert not pool.holds.adopt("alpha", 1, record_of(pool))


@given(st.text() | st.datetimes(timezones=st.none() | st.timezones()).map(str))
@example("")
@example("soon")
@example("0001-01-01T00:00:00")
@example("9999-12-31T23:59:59")
@example("9999-12-31T23:59:59-23:59")
def test_whatever_somebody_has_written_into_the_metadata_the_sweep_goes_on(until: str) -> None:
    pool = PaperPool(config_of(one={}))

    adopted = pool.holds.adopt("alpha", 1, record_of(pool, until=until))

    assert adopted == bool(pool.capacity.taken)
    for hold in pool.holds:
        assert hold.seconds_left > 0


# Which VMs of failed builds.


class Workers:
    """Workers of a pool whose builds fail."""

    def __init__(self, **label: object) -> None:
        self.pool = PaperPool(config_of(slots=5, one={"max_vms": 9, **label}))
        self.number = 0

    def build(self, *, failed: bool, hold_for: float | None = None) -> Lease:
        self.number += 1
        lease = self.pool.building(worker=f"worker-{self.number}", request=self.number)
        lease.hold_for = hold_for
        Deferred.fromCoroutine(self.pool.release(lease, graceful=True, failed=failed))
        return lease


def test_the_vm_of_a_failed_build_is_held_if_its_label_says_so() -> None:
    workers = Workers(hold_on_failure="1h")
    lease = workers.build(failed=True)

    (hold,) = workers.pool.holds
    assert (hold.vm, hold.seconds_left) == (lease.vm, 3600)


@pytest.mark.parametrize(
    ("label", "failed"), [({}, True), ({"hold_on_failure": "1h"}, False)], ids=["label", "build"]
)
def test_no_other_vm_is_held(label: dict[str, object], *, failed: bool) -> None:
    workers = Workers(**label)
    workers.build(failed=failed)

    assert not list(workers.pool.holds)
    assert not workers.pool.capacity.taken


@pytest.mark.parametrize("most", [0, 1, 2])
def test_no_more_vms_of_failed_builds_are_held_than_max_held(most: int) -> None:
    workers = Workers(hold_on_failure="1h", max_held=most)
    leases = [workers.build(failed=True) for _ in range(4)]

    assert [hold.vm for hold in workers.pool.holds] == [lease.vm for lease in leases[:most]]
    why = f"label one holds {most} of the {most} VMs that max_held allows"
    assert [lease.why_not_held for lease in leases] == [""] * most + [why] * (4 - most)


def test_two_builds_that_fail_at_once_hold_no_more_than_max_held() -> None:
    workers = Workers(hold_on_failure="1h", max_held=1)
    marks: list[Deferred[None]] = []

    async def slowly(**_changes: str) -> None:
        marks.append(Deferred())
        await marks[-1]

    leases = [workers.pool.building(worker=name, request=n) for n, name in enumerate("ab")]
    for lease in leases:
        machine_of(lease.vm).mark = slowly  # type: ignore[method-assign]
        Deferred.fromCoroutine(workers.pool.release(lease, graceful=True, failed=True))
    for mark in marks:
        mark.callback(None)

    assert workers.pool.holds.count("one") == 1


@pytest.mark.parametrize("most", [1, 2])
def test_who_asks_for_a_vm_gets_it_for_that_long_whatever_else_is_held(most: int) -> None:
    workers = Workers(hold_on_failure="1h", max_held=most)
    workers.build(failed=True)
    asked_for = workers.build(failed=True, hold_for=60.0)

    (hold,) = [hold for hold in workers.pool.holds if hold.vm is asked_for.vm]
    assert hold.seconds_left == 60


def test_what_the_label_says_now_counts() -> None:
    workers = Workers()
    lease = workers.pool.building()
    changed = config_of(slots=5, one={"max_vms": 9, "hold_on_failure": "1h"})
    workers.pool.configure(changed)

    Deferred.fromCoroutine(workers.pool.release(lease, graceful=True, failed=True))

    assert workers.pool.holds.count("one") == 1


def test_what_a_label_said_last_counts_once_it_is_not_configured_any_more() -> None:
    workers = Workers(hold_on_failure="1h")
    lease = workers.pool.building()
    workers.pool.configure(config_of(other={}))

    Deferred.fromCoroutine(workers.pool.release(lease, graceful=True, failed=True))

    assert [hold.vm for hold in workers.pool.holds] == [lease.vm]


def test_a_vm_of_which_nobody_says_that_its_build_failed_is_not_held() -> None:
    workers = Workers(hold_on_failure="1h")
    lease = workers.pool.building()

    Deferred.fromCoroutine(workers.pool.release(lease, graceful=True))

    assert not list(workers.pool.holds)


def test_a_plan_for_a_worker_is_on_record_as_its_own() -> None:
    pool = PaperPool(config_of(one={}))
    allocation = pool.capacity.take("one")
    assert allocation is not None

    record = machine_plan(pool.config, allocation, worker="worker", owner=OWNER, now=0.0).record

    assert (record.state, record.worker, record.until) == ("job", "worker", "")


def test_a_vm_that_an_earlier_master_held_counts_as_large_as_it_is() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), one={"memory": "512MiB"}))
    record = record_of(pool)
    domain = SlotDomain(1, "uuid", record, vcpus=4, memory=8 * GIB)

    assert pool._adopt(pool.hosts["alpha"], domain)

    assert pool.capacity.given("alpha") == Size(4, 8 * GIB)


@pytest.mark.parametrize(("vcpus", "memory"), [(0, 8 * GIB), (4, 0), (0, 0)])
def test_a_vm_whose_host_does_not_say_all_of_its_size_counts_as_its_label_says(
    vcpus: int, memory: int
) -> None:
    pool = PaperPool(config_of(hosts=("alpha",), one={"vcpus": 2, "memory": "512MiB"}))
    domain = SlotDomain(1, "uuid", record_of(pool), vcpus=vcpus, memory=memory)

    assert pool._adopt(pool.hosts["alpha"], domain)

    assert pool.capacity.given("alpha") == Size(2, GIB // 2)
