# SPDX-License-Identifier: GPL-2.0-only
"""A job whose VM does not come up gets another one; nothing stays behind whatever happens.

The VMs are on paper: see tests/support/paper_pool.py. Real ones are in tests/integration.
"""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure

from latent_libvirt.errors import (
    CapacityError,
    ConfigurationError,
    GivenUpError,
    GuestError,
    HostError,
    LatentLibvirtError,
)
from latent_libvirt.pool import leases
from latent_libvirt.pool.lease import (
    Idle,
    Lease,
)
from latent_libvirt.pool.leases import BACKOFF
from latent_libvirt.pool.vm import VM
from latent_libvirt.status.names import BuildRef
from paper_pool import START, PaperPool, config_of, host_of, machine_of

SILENT = GuestError("the VM said nothing")
REFUSED = HostError("the host refused")
NO_IMAGE = ConfigurationError("the host has no such image")
SLOT_TAKEN = CapacityError("another master was quicker")


def failure_of(deferred: Deferred[None]) -> BaseException:
    """Return what *deferred*, which has to be over, has failed with."""
    failures: list[Failure] = []
    deferred.addErrback(failures.append)
    (failure,) = failures
    assert failure.value is not None
    return failure.value


def is_under_way(deferred: Deferred[None]) -> bool:
    return not deferred.called


def fail_start(lease: Lease, error: Exception = SILENT) -> VM:
    """Let the start of the lease's VM fail; return that VM."""
    vm = lease.vm
    machine_of(vm).fails(error)
    host_of(vm).reactor.advance(BACKOFF.longest)
    return vm


# Another VM for the same job.


def test_a_vm_that_does_not_come_up_is_replaced_on_another_host() -> None:
    pool = PaperPool(config_of(one={}))
    lease = pool.give()
    started = pool.brought_up(lease)

    lost = fail_start(lease)

    assert lease.vm is not lost
    assert lease.vm.host is not lost.host
    assert host_of(lost).discarded == [machine_of(lost)]
    assert [allocation.host for allocation in pool.capacity.taken] == [lease.vm.host.name]
    assert is_under_way(started)


def test_all_hosts_are_tried_before_one_is_tried_again() -> None:
    hosts = ("alpha", "beta", "gamma")
    pool = PaperPool(config_of(hosts=hosts, one={"launch_attempts": 9}))
    lease = pool.give()
    pool.brought_up(lease).addErrback(lambda _: None)

    tried = [fail_start(lease, REFUSED).host.name for _ in hosts]

    assert sorted(tried) == sorted(hosts)
    assert lease.vm.host.name in hosts


def test_the_same_host_is_tried_again_if_there_is_no_other() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), one={}))
    lease = pool.give()
    started = pool.brought_up(lease)

    lost = fail_start(lease)

    assert lease.vm is not lost
    assert lease.vm.host is lost.host
    assert is_under_way(started)


def test_on_a_full_host_the_next_vm_comes_when_nothing_is_left_of_the_last() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=1, one={}))
    pool.paper_hosts["alpha"].frees_at_once = False
    lease = pool.give()
    pool.brought_up(lease)
    lost = fail_start(lease)
    assert lease.vm is lost, "there is no room yet"

    pool.paper_hosts["alpha"].frees()

    assert lease.vm is not lost
    pool.clock.advance(BACKOFF.longest)
    assert machine_of(lease.vm).step == "prepare"


def test_the_next_vm_on_the_same_host_takes_another_slot_and_waits_a_moment() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=3, one={"launch_attempts": 9}))
    pool.paper_hosts["alpha"].frees_at_once = True
    lease = pool.give()
    pool.brought_up(lease).addErrback(lambda _: None)
    slots = []
    for pause in (1, 2):
        slots.append(lease.vm.allocation.slot)
        machine_of(lease.vm).fails(REFUSED)
        assert machine_of(lease.vm).step == "", "too soon"
        pool.clock.advance(pause)
        assert machine_of(lease.vm).step == "prepare"

    assert len({*slots, lease.vm.allocation.slot}) == 3


def test_after_a_vm_that_was_lost_late_the_next_one_starts_at_once_even_on_the_same_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leases, "INSTANT", 0.0)  # a VM's age is that of a real clock
    pool = PaperPool(config_of(hosts=("alpha",), slots=2, one={}))
    lease = pool.give()
    pool.brought_up(lease)

    machine_of(lease.vm).fails(SILENT)

    assert machine_of(lease.vm).step == "prepare"


def test_on_another_host_the_next_vm_starts_at_once() -> None:
    pool = PaperPool(config_of(one={}))
    lease = pool.give()
    pool.brought_up(lease)

    machine_of(lease.vm).fails(SILENT)

    assert machine_of(lease.vm).step == "prepare"


def test_a_job_whose_slot_another_master_has_taken_gets_the_next_one_at_once_and_then_waits() -> (
    None
):
    pool = PaperPool(config_of(hosts=("alpha",), slots=3, one={}))
    lease = pool.give()
    pool.brought_up(lease)

    machine_of(lease.vm).fails(SLOT_TAKEN)
    assert machine_of(lease.vm).step == "prepare"
    machine_of(lease.vm).fails(SLOT_TAKEN)
    assert machine_of(lease.vm).step == "", "too soon"
    pool.clock.advance(2)
    assert machine_of(lease.vm).step == "prepare"


def test_a_vm_that_is_replaced_on_another_host_need_not_be_gone_first() -> None:
    pool = PaperPool(config_of(one={}))
    lease = pool.give()
    host_of(lease.vm).frees_at_once = False
    pool.brought_up(lease)

    lost = fail_start(lease)

    assert lease.vm is not lost
    assert lost.allocation in pool.capacity.taken
    assert lease.vm.machine.record.worker == "worker"


def test_where_a_label_may_have_one_vm_the_next_one_is_on_another_host_too() -> None:
    pool = PaperPool(config_of(one={"max_vms": 1}))
    lease = pool.give()
    pool.brought_up(lease)

    lost = fail_start(lease)

    assert (lost.host.name, lease.vm.host.name) == ("alpha", "beta")


def test_where_a_label_may_have_one_vm_the_next_one_is_in_another_slot_too() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), one={"max_vms": 1}))
    lease = pool.give()
    pool.brought_up(lease)

    lost = fail_start(lease)

    assert (lost.allocation.slot, lease.vm.allocation.slot) == (1, 2)


def test_a_lease_has_the_reason_of_each_vm_that_was_lost() -> None:
    pool = PaperPool(config_of(one={}))
    lease = pool.give()
    pool.brought_up(lease)

    fail_start(lease, SILENT)
    fail_start(lease, REFUSED)

    assert lease.reasons == [SILENT.brief, REFUSED.brief]


def test_a_job_that_is_given_up_has_all_that_the_last_error_said() -> None:
    error = GuestError("it is silent", details="console: none", resolution="Look.", gist="silent")
    pool = PaperPool(config_of(one={"launch_attempts": 1}))
    lease = pool.give()
    started = pool.brought_up(lease)

    fail_start(lease, error)

    given_up = failure_of(started)
    assert isinstance(given_up, GivenUpError)
    assert (given_up.brief, given_up.gist) == ("it is silent", "silent")
    assert given_up.details == (
        "console: none\nLook.\ngiving up: this job has lost 1 VM\n1. it is silent"
    )
    assert "launch_attempts" in (given_up.resolution or "")


def test_the_job_hears_of_it_if_another_has_the_last_room_meanwhile() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=1, one={}))
    host = pool.paper_hosts["alpha"]
    host.frees_at_once = False
    lease = pool.give()
    started = pool.brought_up(lease)
    fail_start(lease)

    host.usable = False
    pool.hosts_changed()
    host.frees()

    assert failure_of(started) is SILENT
    assert lease.failure == SILENT.brief
    pool.given_back(lease)
    assert not pool.capacity.taken


def test_a_guest_that_refuses_its_identity_is_replaced_and_counted_against_its_host() -> None:
    pool = PaperPool(config_of(one={}))
    lease = pool.give()
    pool.brought_up(lease)
    machine_of(lease.vm).comes_up()
    assert machine_of(lease.vm).step == "assign"

    lost = fail_start(lease)

    assert lease.vm.host is not lost.host
    assert pool.told.failed_vms == [SILENT]


def test_a_worker_that_does_not_attach_in_time_is_replaced() -> None:
    pool = PaperPool(config_of(one={"attach_timeout": "30s"}))
    lease = pool.give()
    pool.brought_up(lease)
    lost = lease.vm
    machine_of(lost).comes_up()
    machine_of(lost).goes_on()

    pool.clock.advance(29)
    assert lease.vm is lost
    pool.clock.advance(2)

    assert lease.vm is not lost
    assert "did not attach within 30 s" in pool.told.failed_vms[0].brief


def test_a_vm_that_dies_before_its_worker_attaches_is_replaced_at_once() -> None:
    pool = PaperPool(config_of(one={}))
    lease = pool.give()
    pool.brought_up(lease)
    lost = lease.vm
    machine_of(lost).comes_up()
    machine_of(lost).goes_on()

    machine_of(lost).dies()

    assert lease.vm is not lost


def test_what_the_job_is_told_in_the_end_is_of_the_vm_that_came_up() -> None:
    pool = PaperPool(config_of(one={}))
    lease = pool.give()
    started = pool.brought_up(lease)
    lost = fail_start(lease)

    machine_of(lease.vm).comes_up()
    machine_of(lease.vm).goes_on()
    lease.attached()

    assert started.called
    report = lease.report()
    assert (report.failure, report.lost) == ("", 1)
    assert report.host != lost.host.name


# How often.


@pytest.mark.parametrize("attempts", [1, 2, 4])
def test_a_job_is_given_up_after_launch_attempts_with_all_reasons(attempts: int) -> None:
    pool = PaperPool(config_of(one={"launch_attempts": attempts}))
    lease = pool.give()
    started = pool.brought_up(lease)

    for number in range(1, attempts + 1):
        assert is_under_way(started)
        fail_start(lease, GuestError(f"reason {number}", details=f"console {number}"))

    error = failure_of(started)
    assert isinstance(error, GivenUpError)
    assert error.brief == f"reason {attempts}"
    assert error.details is not None
    for number in range(1, attempts + 1):
        assert f"{number}. reason {number}" in error.details
    assert f"console {attempts}" in error.details
    assert "launch_attempts" in str(error.resolution)
    pool.given_back(lease)
    assert not pool.capacity.taken


def test_a_job_that_comes_again_goes_on_counting_where_it_was() -> None:
    pool = PaperPool(config_of(one={"launch_attempts": 2}))
    pool.attempts.note_failure([1], "the first")
    lease = pool.give(request=1)
    started = pool.brought_up(lease)

    fail_start(lease)

    assert isinstance(failure_of(started), GivenUpError)


def test_the_failures_of_other_jobs_do_not_count() -> None:
    pool = PaperPool(config_of(slots=5, one={"launch_attempts": 2, "max_vms": 9}))
    for request in (1, 2, 3):
        lease = pool.give(worker=f"worker-{request}", request=request)
        started = pool.brought_up(lease)
        fail_start(lease)
        assert is_under_way(started)


def test_a_spare_that_had_died_does_not_count() -> None:
    pool = PaperPool(config_of(one={"launch_attempts": 1, "spares": 1}))
    pool.tidy()
    (spare,) = pool.spares
    machine_of(spare).comes_up()
    lease = pool.give()
    assert (lease.vm, lease.way) == (spare, "spare")
    started = pool.brought_up(lease)

    machine_of(spare).fails(SILENT)

    assert is_under_way(started)
    assert lease.way == "cold"
    fail_start(lease)
    assert isinstance(failure_of(started), GivenUpError), "a cold one does count"


def test_a_slot_that_another_master_has_taken_does_not_count() -> None:
    pool = PaperPool(config_of(one={"launch_attempts": 1}))
    lease = pool.give()
    started = pool.brought_up(lease)

    for _ in range(5):
        fail_start(lease, SLOT_TAKEN)

    assert is_under_way(started)


def test_a_defect_of_ours_counts_too_so_that_it_ends() -> None:
    pool = PaperPool(config_of(one={"launch_attempts": 2}))
    lease = pool.give()
    started = pool.brought_up(lease)

    fail_start(lease, ZeroDivisionError("oops"))
    assert is_under_way(started)
    fail_start(lease, ZeroDivisionError("oops"))

    error = failure_of(started)
    assert isinstance(error, GivenUpError)
    assert "oops" in str(error)


def test_a_defect_of_ours_is_noted_as_a_failure_of_its_vm() -> None:
    pool = PaperPool(config_of(one={}))
    lease = pool.give()
    pool.brought_up(lease)

    lost = fail_start(lease, ZeroDivisionError("oops"))

    (error,) = pool.told.failed_vms
    assert (error.brief, error.details) == (
        "a VM could not be started",
        "ZeroDivisionError('oops')",
    )
    assert pool.told.failed_in == [lost.allocation]


def test_the_log_says_how_long_each_phase_of_a_lease_has_taken() -> None:
    pool = PaperPool(config_of(one={}))
    lease = pool.building()

    with capturedLogs() as logged:
        pool.given_back(lease)

    (line,) = [line for event in logged if " for worker: " in (line := formatEvent(event))]
    begin, phases = line.split(" for worker: ")
    assert begin == str(lease.vm)
    assert not any("log_failure" in event for event in logged)
    assert re.fullmatch(r"prepare \d+\.\d\d s, .*build \d+\.\d\d s, tear-down \d+\.\d\d s", phases)


def test_a_vm_that_an_operator_has_ended_does_not_count_against_its_job() -> None:
    pool = PaperPool(config_of(one={"launch_attempts": 1}))
    lease = pool.give()
    started = pool.brought_up(lease)

    lease.vm.is_ended_by_operator = True
    lost = fail_start(lease)

    assert is_under_way(started)
    assert lease.vm is not lost
    assert not pool.told.failed_vms


# What trying again cannot mend.


def test_what_one_host_lacks_may_be_there_on_another_and_does_not_count() -> None:
    pool = PaperPool(config_of(one={"launch_attempts": 1}))
    lease = pool.give()
    started = pool.brought_up(lease)

    lost = fail_start(lease, NO_IMAGE)

    assert lease.vm.host is not lost.host
    assert is_under_way(started)


def test_what_all_hosts_lack_ends_the_job_without_trying_one_twice() -> None:
    hosts = ("alpha", "beta", "gamma")
    pool = PaperPool(config_of(hosts=hosts, one={"launch_attempts": 9}))
    lease = pool.give()
    started = pool.brought_up(lease)

    for _ in hosts:
        assert is_under_way(started)
        fail_start(lease, NO_IMAGE)

    assert failure_of(started) is NO_IMAGE
    assert [len(host.machines) for host in pool.paper_hosts.values()] == [1, 1, 1]
    pool.given_back(lease)
    assert not pool.capacity.taken


# Stopped.


@pytest.mark.parametrize("way", ["cold", "spare"])
@pytest.mark.parametrize("phase", [*START, "assign", "attach"])
def test_a_start_that_is_cancelled_leaves_nothing_once_it_is_released(way: str, phase: str) -> None:
    pool = PaperPool(config_of(one={"spares": 1 if way == "spare" else 0}))
    pool.tidy()
    lease = pool.give()
    assert lease.way == way
    started = pool.brought_up(lease)
    machine = machine_of(lease.vm)
    while machine.step != phase and machine.is_busy:
        machine.goes_on()
    assert phase in (machine.step, "attach")

    started.cancel()
    assert isinstance(failure_of(started), CancelledError)
    assert pool.capacity.taken, "its room is kept until it is gone"
    released = pool.given_back(lease)

    assert released.called
    assert not pool.capacity.taken
    assert not list(pool.registry)
    assert host_of(lease.vm).discarded == [machine]
    assert not pool.told.failed_vms, "nobody is to blame"
    assert not pool.leases


def test_a_cancel_while_the_last_vm_is_taken_down_leaves_nothing() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=1, one={}))
    pool.paper_hosts["alpha"].frees_at_once = False
    lease = pool.give()
    started = pool.brought_up(lease)
    fail_start(lease)

    started.cancel()
    assert isinstance(failure_of(started), CancelledError)
    released = pool.given_back(lease)
    assert is_under_way(released)
    pool.paper_hosts["alpha"].frees()

    assert released.called
    assert not pool.capacity.taken
    assert len(pool.paper_hosts["alpha"].machines) == 1, "nothing was started after the cancel"


# Taken back.


@pytest.mark.parametrize(
    ("graceful", "shutdown", "asked"),
    [(True, "graceful", [20.0]), (False, "graceful", []), (True, "destroy", [])],
)
def test_a_guest_shuts_down_if_its_label_says_so_and_there_is_time(
    *, graceful: bool, shutdown: str, asked: list[float]
) -> None:
    pool = PaperPool(config_of(one={"shutdown": shutdown, "shutdown_timeout": "20s"}))
    lease = pool.building()

    pool.given_back(lease, graceful=graceful)

    assert machine_of(lease.vm).shut_down_for == asked
    assert not pool.capacity.taken


def test_a_lease_is_released_from_when_its_vm_begins_to_go_and_in_use_until_it_has_gone() -> None:
    pool = PaperPool(config_of(one={}))
    lease = pool.building()
    host_of(lease.vm).frees_at_once = False
    before = lease.released

    released = pool.given_back(lease)

    assert (before, lease.released) == (False, True)
    assert lease.current_phase[0] == "tear-down"
    assert pool.leases["worker"] is lease
    host_of(lease.vm).frees()
    assert released.called
    assert not pool.leases


def test_a_vm_that_is_to_be_held_keeps_its_place_and_no_lease() -> None:
    pool = PaperPool(config_of(one={}))
    lease = pool.building()
    lease.hold_for = 60.0

    pool.given_back(lease)

    assert not pool.leases
    assert [hold.vm for hold in pool.holds] == [lease.vm]
    assert pool.capacity.taken == {lease.vm.allocation}


def test_a_vm_that_is_being_torn_down_is_not_held_any_more() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), slots=1, one={}))
    pool.paper_hosts["alpha"].frees_at_once = False
    lease = pool.give()
    started = pool.brought_up(lease)
    fail_start(lease)
    started.cancel()
    assert isinstance(failure_of(started), CancelledError)
    lease.hold_for = 60.0

    pool.given_back(lease)
    pool.paper_hosts["alpha"].frees()

    assert not machine_of(lease.vm).marks
    assert not list(pool.holds)


def test_a_vm_whose_host_cannot_be_told_is_not_held_but_ended() -> None:
    pool = PaperPool(config_of(one={}))
    lease = pool.building()
    lease.hold_for = 60.0
    host_of(lease.vm).is_deaf = True

    pool.given_back(lease)

    assert not list(pool.holds)
    assert not pool.capacity.taken


def test_a_defect_in_shutting_down_leaves_nothing_either(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = PaperPool(config_of(one={"shutdown": "graceful"}))
    lease = pool.building()
    monkeypatch.setattr(machine_of(lease.vm), "shut_down", lambda _timeout: 1 / 0)

    released = pool.given_back(lease)

    assert isinstance(failure_of(released), ZeroDivisionError)
    assert not pool.capacity.taken
    assert not pool.leases


def test_a_defect_in_holding_a_vm_ends_it_too() -> None:
    pool = PaperPool(config_of(one={}))
    lease = pool.building()
    lease.hold_for = 1e30  # no datetime is that late

    released = pool.given_back(lease)

    assert released.called
    assert not pool.capacity.taken
    assert not pool.leases


# Who has what.


def test_the_builders_of_jobs_are_counted_once_per_vm() -> None:
    pool = PaperPool(config_of(slots=3, one={}))
    for number, builder in enumerate(["check", "docs", "check"]):
        lease = pool.give(worker=f"worker-{number}")
        lease.job = BuildRef(builder, number, "")
    pool.give(worker="without a job yet")

    assert Counter(pool.leases.builders()) == {"check": 2, "docs": 1}


def test_an_idle_vm_may_be_evicted_unless_a_build_is_on_its_way_to_it() -> None:
    pool = PaperPool(config_of(one={"max_builds_per_vm": 2}))
    lease = pool.building()
    assert not pool.leases.evictable(now=100.0)

    lease.rest(Idle(Deferred, promised_until=110.0))

    assert not pool.leases.evictable(now=109.0)
    (victim,) = pool.leases.evictable(now=110.0)
    assert victim.allocation is lease.vm.allocation


def test_a_vm_waits_for_another_build_only_while_that_one_will_find_half_of_its_lifetime() -> None:
    pool = PaperPool(
        config_of(one={"idle_timeout": "60s"}, two={"idle_timeout": "60s", "max_lifetime": "3m"})
    )
    without, with_limit = pool.building("one"), pool.building("two")
    began = with_limit.attached_at

    assert without.idle_time(began + 10**6) == 60
    assert with_limit.idle_time(began + 10) == 60
    assert with_limit.idle_time(began + 70) == 20
    assert with_limit.idle_time(began + 91) == 0


# In any order.

LABELS = ("one", "two")
ERRORS = st.sampled_from([SILENT, REFUSED, NO_IMAGE, SLOT_TAKEN])


class Jobs(RuleBasedStateMachine):
    """Jobs come, fail, are stopped and end in any order, with spares, holds and host troubles."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = PaperPool(
            config_of(
                slots=2,
                max_vms=3,
                one={"spares": 1, "launch_attempts": 2},
                two={"max_vms": 2, "launch_attempts": 3},
            )
        )
        self.starting: dict[Lease, Deferred[None]] = {}
        self.building: list[Lease] = []
        self.failed: list[Lease] = []
        self.releasing: list[Deferred[object]] = []
        self.number = 0

    def after(self, result: object, lease: Lease) -> None:
        """Record how a start has ended: what no error of ours explains fails the test."""
        del self.starting[lease]
        if isinstance(result, Failure):
            assert isinstance(result.value, LatentLibvirtError | CancelledError), result
            self.failed.append(lease)
        else:
            self.building.append(lease)

    @rule(label=st.sampled_from(LABELS))
    def job_comes(self, label: str) -> None:
        if not self.pool.allocator.has(label):
            assert self.pool.allocator.take(label) is None
            self.pool.allocator.make_room(label)
            return
        self.number += 1
        lease = self.pool.give(label, f"worker-{self.number}", request=self.number % 4)
        started = self.starting[lease] = self.pool.brought_up(lease)
        started.addBoth(self.after, lease)

    @precondition(lambda self: bool(self.busy()))
    @rule(data=st.data())
    def a_step_is_done(self, data: st.DataObject) -> None:
        machine_of(data.draw(st.sampled_from(self.busy()))).goes_on()

    @precondition(lambda self: bool(self.busy()))
    @rule(data=st.data(), error=ERRORS)
    def a_step_fails(self, data: st.DataObject, error: LatentLibvirtError) -> None:
        machine_of(data.draw(st.sampled_from(self.busy()))).fails(error)

    @precondition(lambda self: bool(self.vms()))
    @rule(data=st.data())
    def a_vm_dies(self, data: st.DataObject) -> None:
        machine_of(data.draw(st.sampled_from(self.vms()))).dies()

    @precondition(lambda self: bool(self.starting))
    @rule(data=st.data())
    def a_worker_attaches(self, data: st.DataObject) -> None:
        lease = data.draw(st.sampled_from(list(self.starting)))
        if lease.timeline.current and lease.timeline.current[0] in ("assign", "attach"):
            lease.attached()

    @precondition(lambda self: bool(self.starting))
    @rule(data=st.data())
    def a_job_is_stopped(self, data: st.DataObject) -> None:
        self.starting[data.draw(st.sampled_from(list(self.starting)))].cancel()

    @precondition(lambda self: bool(self.building or self.failed))
    @rule(data=st.data(), hold=st.booleans(), graceful=st.booleans())
    def a_vm_is_released(self, data: st.DataObject, *, hold: bool, graceful: bool) -> None:
        lease = data.draw(st.sampled_from([*self.building, *self.failed]))
        (self.building if lease in self.building else self.failed).remove(lease)
        lease.hold_for = 100.0 if hold else None
        self.releasing.append(self.pool.given_back(lease, graceful=graceful))

    @precondition(lambda self: bool(list(self.pool.holds)))
    @rule(data=st.data())
    def a_held_vm_is_released(self, data: st.DataObject) -> None:
        self.pool.holds.release(data.draw(st.sampled_from(list(self.pool.holds))))

    @rule(name=st.sampled_from(["alpha", "beta"]), usable=st.booleans(), deaf=st.booleans())
    def a_host_changes(self, name: str, *, usable: bool, deaf: bool) -> None:
        self.pool.paper_hosts[name].usable = usable
        self.pool.paper_hosts[name].is_deaf = deaf
        self.pool.hosts_changed()

    @rule(name=st.sampled_from(["alpha", "beta"]), at_once=st.booleans())
    def tear_downs_end(self, name: str, *, at_once: bool) -> None:
        self.pool.paper_hosts[name].frees_at_once = at_once
        self.pool.paper_hosts[name].frees()

    @rule(seconds=st.sampled_from([1.0, 50.0, 1000.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.pool.clock.advance(seconds)
        self.pool.hosts_changed()

    @rule()
    def spares_are_tidied(self) -> None:
        self.pool.tidy()

    def vms(self) -> list[VM]:
        return sorted(
            self.pool.registry, key=lambda vm: (vm.host.name, vm.allocation.slot, vm.vm_id)
        )

    def busy(self) -> list[VM]:
        return [vm for vm in self.vms() if machine_of(vm).is_busy]

    @invariant()
    def no_cap_is_exceeded(self) -> None:
        taken = self.pool.capacity.taken
        assert len(taken) <= 3
        assert sum(allocation.label == "two" for allocation in taken) <= 2
        slots = [(allocation.host, allocation.slot) for allocation in taken]
        assert len(set(slots)) == len(slots)
        assert all(slot in (1, 2) for _host, slot in slots)

    @invariant()
    def each_vm_has_a_place_and_each_place_a_vm(self) -> None:
        allocations = [vm.allocation for vm in self.pool.registry]
        assert len(allocations) == len(set(allocations))
        assert set(allocations) == self.pool.capacity.taken

    @invariant()
    def no_vm_is_torn_down_twice(self) -> None:
        for host in self.pool.paper_hosts.values():
            assert len(set(host.discarded)) == len(host.discarded)

    def teardown(self) -> None:
        for started in list(self.starting.values()):
            started.cancel()
        assert not self.starting
        for host in self.pool.paper_hosts.values():
            host.frees_at_once = True
            host.frees()
        for lease in [*self.building, *self.failed]:
            self.releasing.append(self.pool.given_back(lease))
        Deferred.fromCoroutine(self.pool.spares.end())
        Deferred.fromCoroutine(self.pool.holds.end())
        assert all(released.called for released in self.releasing)
        assert not self.pool.leases
        assert not list(self.pool.registry)
        assert not self.pool.capacity.taken


def test_jobs_in_any_order_leave_nothing() -> None:
    run_state_machine_as_test(Jobs, settings=settings(stateful_step_count=40))
