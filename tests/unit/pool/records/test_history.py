# SPDX-License-Identifier: GPL-2.0-only
"""What a pool remembers: its last failures, and what was in its slots; VMs are on paper."""

from __future__ import annotations

from latent_libvirt.errors import GuestError
from latent_libvirt.pool.records import history
from latent_libvirt.status import BuildRef, SlotUse
from paper_pool import PaperPool, config_of, machine_of

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
