# SPDX-License-Identifier: GPL-2.0-only
"""What a pool remembers: its last failures, and what was in its slots; VMs are on paper."""

from __future__ import annotations

import pytest

from latent_libvirt.errors import GuestError
from latent_libvirt.pool.lease import Lease
from latent_libvirt.pool.leases import BACKOFF
from latent_libvirt.pool.records import history
from latent_libvirt.pool.timeline import Timeline
from latent_libvirt.pool.vm import VM
from latent_libvirt.status.names import BuildRef
from latent_libvirt.status.past import SlotUse
from paper_pool import PaperPool, config_of, host_of, machine_of

JOB = BuildRef("check", 7, "")


def uses(pool: PaperPool) -> list[SlotUse]:
    return list(pool.history.uses(pool.registry))


def names(use: SlotUse) -> list[str]:
    return [name for name, _seconds in use.phases]


def test_a_vm_is_in_its_slot_with_its_phases_from_its_start_to_an_hour_after_its_end() -> None:
    pool = PaperPool(config_of(one={}))
    lease = pool.building()
    lease.job = JOB
    (live,) = uses(pool)
    place = lease.vm.allocation

    pool.given_back(lease)

    assert (live.host, live.slot, live.worker, live.job) == (place.host, place.slot, "worker", JOB)
    assert (names(live), live.phase, live.ended) == (
        ["prepare", "clone", "boot", "assign", "attach"],
        *("build", 0.0),
    )
    (ended,) = uses(pool)
    assert names(ended) == ["prepare", "clone", "boot", "assign", "attach", "build", "tear-down"]
    assert (ended.phase, ended.ended, ended.job) == ("", pool.clock.seconds(), JOB)
    pool.clock.advance(history.REMEMBERED_FOR + 1)
    assert uses(pool) == []


def test_a_spare_waits_and_then_builds_in_one_slot() -> None:
    pool = PaperPool(config_of(one={"spares": 1}))
    pool.tidy()
    (spare,) = pool.spares
    machine_of(spare).comes_up()
    (waiting,) = uses(pool)

    lease = pool.building()

    assert (waiting.phase, waiting.worker) == ("waiting", "")
    assert lease.vm is spare
    (building,) = uses(pool)
    assert "waiting" in names(building)
    assert building.phase == "build"


def test_vms_that_operators_end_push_no_failure_out() -> None:
    pool = PaperPool(config_of(one={}))
    lease = pool.building()
    pool.history.note_failure(lease.vm, GuestError("it died"))
    lease.vm.is_ended_by_operator = True
    for _ in range(history.MOST_FAILURES + 5):
        pool.clock.advance(1)
        pool.history.note_failure(lease.vm, GuestError("ended"))

    *ended, failed = pool.history.failures

    assert (failed.reason, failed.is_ended_by_operator) == ("it died", False)
    assert [each.is_ended_by_operator for each in ended] == [True] * history.MOST_FAILURES
    assert ended[0].when > ended[-1].when


def test_a_held_vm_is_held_in_its_slot() -> None:
    pool = PaperPool(config_of(one={}))
    lease = pool.building()
    lease.hold_for = 60.0

    pool.given_back(lease)

    assert [use.phase for use in uses(pool)] == ["held"]


def test_the_last_failures_are_remembered_with_their_reasons_and_builds() -> None:
    pool = PaperPool(config_of(one={}))
    lease = pool.give()
    lease.job = JOB
    pool.brought_up(lease).addErrback(lambda _: None)
    failed = lease.vm

    machine_of(failed).fails(GuestError("it is silent", details="x" * 9999, resolution="Look."))

    (failure,) = pool.history.failures
    assert (failure.vm_id, failure.host) == (failed.vm_id, failed.host.name)
    assert (failure.reason, failure.job, failure.worker) == ("it is silent", JOB, "worker")
    assert failure.details.endswith("x\nLook.")
    assert len(failure.details) == history.LONGEST


def test_no_more_failures_are_remembered_than_a_page_can_show() -> None:
    pool = PaperPool(config_of(one={}))
    vm = pool.building().vm

    for number in range(history.MOST_FAILURES + 1):
        pool.history.note_failure(vm, GuestError(f"failure {number}"))

    assert len(pool.history.failures) == history.MOST_FAILURES
    assert pool.history.failures[0].reason == f"failure {history.MOST_FAILURES}", "the newest"


def test_what_vms_that_no_build_waits_for_fail_by_again_and_again_is_remembered_once() -> None:
    pool = PaperPool(config_of(hosts=("alpha",), one={}, two={}))
    vms = [pool.registry.add(room) for _ in "12" if (room := pool.capacity.take("one"))]

    for vm in (*vms, vms[0]):
        pool.clock.advance(1)
        pool.history.note_failure(vm, GuestError(f"VM {vm.machine.name} is silent"))
    pool.history.note_failure(vms[0], GuestError("another reason"))

    another, silent = pool.history.failures
    assert another.reason == "another reason"
    assert (silent.when, silent.domain) == (pool.now, vms[0].machine.name), "the newest"


def test_what_builds_have_lost_is_remembered_each_time() -> None:
    pool = PaperPool(config_of(one={}))
    vm = pool.building().vm

    for _ in range(3):
        pool.history.note_failure(vm, GuestError("it died"))

    assert len(pool.history.failures) == 3


def at(vm: VM, lease: Lease | None, pool: PaperPool) -> None:
    """Let the phases of *vm* and *lease* have the seconds of the pool's clock."""
    vm.timeline = Timeline(pool.clock.seconds)
    if lease is not None:
        lease.timeline = Timeline(pool.clock.seconds)


def test_each_phase_has_its_seconds_and_began_when_the_one_before_ended() -> None:
    pool = PaperPool(config_of(one={}))
    lease = pool.give()
    at(lease.vm, lease, pool)
    registered = pool.now
    pool.brought_up(lease)
    for seconds in (1, 2, 3, 4):  # prepare, clone, boot, and the wait of the boot
        pool.clock.advance(seconds)
        machine_of(lease.vm).goes_on()
    pool.clock.advance(5)
    machine_of(lease.vm).goes_on()
    pool.clock.advance(6)
    lease.attached()
    pool.clock.advance(7)
    (building,) = uses(pool)
    pool.given_back(lease)

    assert (building.began, building.phase, building.phase_since) == (
        registered,
        "build",
        registered + 21,
    )
    (ended,) = uses(pool)
    found = dict(ended.phases)
    assert found.pop("tear-down") < 60
    assert found == {"prepare": 1, "clone": 2, "boot": 7, "assign": 5, "attach": 6, "build": 7}
    assert (ended.began, ended.ended) == (registered, registered + 28)


def test_a_spare_has_waited_for_its_worker_as_long_as_nobody_had_it() -> None:
    pool = PaperPool(config_of(one={"spares": 1}))
    pool.tidy()
    (spare,) = pool.spares
    at(spare, None, pool)
    machine_of(spare).goes_on()
    pool.clock.advance(3)
    machine_of(spare).comes_up()
    pool.clock.advance(50)

    lease = pool.give()
    lease.timeline = Timeline(pool.clock.seconds)
    pool.clock.advance(7)
    (claimed,) = uses(pool)

    assert lease.vm is spare
    phases = dict(claimed.phases)
    assert (phases["clone"], phases["waiting"]) == (3, 50)


def test_a_spare_that_fails_before_it_is_marked_names_the_worker_that_has_claimed_it() -> None:
    pool = PaperPool(config_of(one={"spares": 1}))
    pool.tidy()
    (spare,) = pool.spares
    machine_of(spare).comes_up()
    lease = pool.give(worker="claimer")

    pool.history.note_failure(lease.vm, GuestError("it is silent"))

    assert lease.vm.machine.record.worker == ""
    assert [failure.worker for failure in pool.history.failures] == ["claimer"]


def test_a_vm_that_starts_is_in_the_phase_of_its_start() -> None:
    pool = PaperPool(config_of(one={}))
    lease = pool.give()
    at(lease.vm, lease, pool)
    pool.brought_up(lease)
    pool.clock.advance(2)
    machine_of(lease.vm).goes_on()
    pool.clock.advance(1)

    (starting,) = uses(pool)

    assert (starting.phase, starting.phase_since) == ("clone", pool.now - 1)


@pytest.mark.parametrize(("tear_down", "build"), [(0.0, 7), (2.0, 5), (20.0, 0)])
def test_the_last_phase_ends_when_the_tear_down_begins(tear_down: float, build: int) -> None:
    pool = PaperPool(config_of(one={}))
    lease = pool.give()
    at(lease.vm, lease, pool)
    pool.brought_up(lease)
    machine_of(lease.vm).comes_up()
    machine_of(lease.vm).goes_on()
    lease.attached()
    pool.clock.advance(7)

    pool.history.note_end(lease.vm, tear_down)

    (ended,) = pool.history.uses(())
    assert dict(ended.phases)["build"] == build
    assert dict(ended.phases)["tear-down"] == tear_down


def test_a_vm_that_was_lost_has_no_phases_of_the_one_that_followed() -> None:
    pool = PaperPool(config_of(one={}))
    lease = pool.give()
    pool.brought_up(lease)
    lost = lease.vm
    host_of(lost).frees_at_once = False
    machine_of(lost).comes_up()
    machine_of(lost).fails(GuestError("it is gone"))
    pool.clock.advance(BACKOFF.longest)
    machine_of(lease.vm).comes_up()
    machine_of(lease.vm).goes_on()
    lease.attached()
    assert lease.vm is not lost

    gone, building = sorted(uses(pool), key=lambda use: use.vm_id != lost.vm_id)

    assert names(gone) == ["prepare", "clone", "boot"]
    assert gone.phase != "build"
    assert building.phase == "build"


def test_a_vm_that_was_never_started_has_waited_in_its_slot() -> None:
    pool = PaperPool(config_of(one={}))
    allocation = pool.capacity.take("one")
    assert allocation is not None

    pool.registry.discard(pool.registry.add(allocation))

    assert [names(use) for use in uses(pool)] == [["waiting", "tear-down"]]


def test_no_more_vms_are_remembered_than_a_page_can_show() -> None:
    pool = PaperPool(config_of(one={}))
    vm = pool.building().vm

    for _ in range(history.MOST_VMS + 1):
        pool.history.note_end(vm, 0.0)

    assert len(list(pool.history.uses(()))) == history.MOST_VMS


def test_a_vm_is_remembered_for_exactly_an_hour() -> None:
    pool = PaperPool(config_of(one={}))
    pool.given_back(pool.building())

    pool.clock.advance(history.REMEMBERED_FOR)
    assert len(uses(pool)) == 1
    pool.clock.advance(1)

    assert uses(pool) == []


def test_the_failure_of_a_vm_that_serves_nobody_names_the_worker_of_its_metadata() -> None:
    pool = PaperPool(config_of(one={}))
    allocation = pool.capacity.take("one")
    assert allocation is not None
    vm = pool.registry.add(allocation, worker="of its metadata")

    pool.history.note_failure(vm, GuestError("it is silent"))

    assert [failure.worker for failure in pool.history.failures] == ["of its metadata"]
