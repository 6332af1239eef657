# SPDX-License-Identifier: GPL-2.0-only
"""A lease: its phases, what it says of its VM, and what it does until its worker has attached.

The VMs are on paper. Who gets a lease is in test_leases.py.
"""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from latent_libvirt.config.units import GIB
from latent_libvirt.errors import GuestError, LatentLibvirtError
from latent_libvirt.pool.lease import Idle, Lease
from latent_libvirt.pool.leases import BACKOFF
from latent_libvirt.pool.room.amounts import Size
from latent_libvirt.pool.timeline import Timeline
from latent_libvirt.status.names import BuildRef
from latent_libvirt.timers import passed
from paper_pool import PaperPool, config_of, host_of, machine_of

CHOICE = {"vcpus": {"min": 1, "max": 6, "default": 2}}


def a_pool(**label: object) -> PaperPool:
    return PaperPool(config_of(one=label))


def timed(pool: PaperPool, lease: Lease) -> Lease:
    """Let the phases of *lease* have the seconds of the pool's clock."""
    lease.timeline = Timeline(pool.clock.seconds)
    return lease


def result_of(deferred: Deferred[Any]) -> Any:
    found: list[Any] = []
    deferred.addBoth(found.append)
    (result,) = found
    return getattr(result, "value", result)


def nothing() -> Deferred[Any]:
    return Deferred()


def test_nothing_has_happened_yet_to_a_new_lease() -> None:
    lease = a_pool().give()

    assert (lease.builds, lease.attached_at, lease.failure, lease.why_not_held) == (1, 0.0, "", "")
    assert not any((lease.released, lease.is_to_be_frozen, lease.is_silent, lease.is_parted))
    assert (lease.job, lease.idle, lease.hold_for, lease.lost) == (None, None, None, [])


# Phases.


def test_phases_are_those_of_the_vm_that_it_has_and_not_of_those_that_were_lost() -> None:
    pool = a_pool()
    lease = timed(pool, pool.give())
    pool.brought_up(lease)
    machine_of(lease.vm).comes_up()
    pool.clock.advance(30)
    machine_of(lease.vm).fails(GuestError("it is gone"))
    pool.clock.advance(BACKOFF.longest)
    assert "assign" not in lease.phases

    machine_of(lease.vm).comes_up()
    pool.clock.advance(1)
    machine_of(lease.vm).goes_on()
    lease.attached()
    pool.clock.advance(5)
    lease.timeline.finish()

    found = lease.phases
    assert list(found) == ["prepare", "clone", "boot", "assign", "attach", "build"]
    assert (found["assign"], found["attach"], found["build"]) == (1, 0, 5)
    assert list(lease.start_phases) == ["prepare", "clone", "boot", "assign", "attach"]


def test_what_a_spare_did_before_it_was_claimed_is_no_phase_of_the_lease() -> None:
    pool = a_pool(spares=1)
    pool.tidy()
    pool.paper_hosts["alpha"].machines[-1].comes_up()

    lease = timed(pool, pool.give())
    pool.brought_up(lease)
    machine_of(lease.vm).goes_on()
    lease.attached()

    assert (lease.way, lease.report().way) == ("spare", "spare")
    assert list(lease.phases) == ["assign", "attach"]
    assert machine_of(lease.vm).marks == [{"state": "job", "worker": "worker"}]


def test_a_vm_that_was_made_for_its_job_is_marked_once_it_is_registered() -> None:
    pool = a_pool()

    lease = pool.building()

    assert machine_of(lease.vm).marks == []


def test_the_phase_that_it_is_in_is_its_own_then_that_of_its_vm() -> None:
    pool = a_pool()
    lease = timed(pool, pool.give())
    lease.vm.timeline = Timeline(pool.clock.seconds)
    pool.clock.advance(2)
    lease.timeline = Timeline(pool.clock.seconds)
    pool.clock.advance(1)
    phases = [lease.current_phase]
    lease.vm.timeline.enter("boot")
    pool.clock.advance(4)
    phases.append(lease.current_phase)
    lease.timeline.enter("assign")
    pool.clock.advance(2)
    phases.append(lease.current_phase)

    assert phases == [("prepare", 1), ("boot", 4), ("assign", 2)]


# One build after the other.


def test_its_vm_serves_as_many_builds_as_its_label_says() -> None:
    lease = a_pool(max_builds_per_vm=3).building()
    assert lease.serves_more

    lease.serve_again((2,))
    assert lease.serves_more
    lease.serve_again((3,))

    assert (lease.builds, lease.report().builds) == (3, 3)
    assert not lease.serves_more


@pytest.mark.parametrize("what", ["failure", "hold_for", "ending"])
def test_a_vm_that_failed_is_held_or_ends_serves_no_other_build(what: str) -> None:
    pool = a_pool(max_builds_per_vm=3)
    lease = pool.building()

    if what == "failure":
        lease.failure = "it is gone"
    elif what == "hold_for":
        lease.hold_for = 0.0
    else:
        pool.registry.discard(lease.vm)

    assert not lease.serves_more


def test_between_two_builds_it_is_idle_and_has_no_job() -> None:
    pool = a_pool(max_builds_per_vm=3)
    lease = timed(pool, pool.building())
    lease.job = BuildRef("check", 7, "")
    idle = Idle(nothing)

    lease.rest(idle)
    pool.clock.advance(3)
    between = (lease.idle, lease.job, lease.current_phase)
    lease.serve_again((5, 6))

    assert list(between) == [idle, None, ("idle", 3)]
    assert (lease.idle, lease.requests, lease.current_phase) == (None, (5, 6), ("build", 0))
    assert lease.phases["idle"] == 3


@pytest.mark.parametrize(
    ("label", "size", "suits"),
    [
        ("one", None, True),
        ("one", Size(2, GIB), True),
        ("one", Size(3, GIB), False),
        ("two", None, False),
        ("two", Size(2, GIB), False),
    ],
)
def test_it_suits_builds_of_its_label_that_chose_its_size(
    label: str, size: Size | None, *, suits: bool
) -> None:
    lease = a_pool(vcpus=2, memory="1GiB").give()

    assert lease.suits(label, size) is suits


@pytest.mark.parametrize(("label", "chosen"), [({}, False), (CHOICE, True)])
def test_only_builds_of_a_label_with_a_choice_have_chosen_a_size(
    label: dict[str, object], *, chosen: bool
) -> None:
    lease = a_pool(**label).give()

    assert lease.chosen_size == (lease.vm.allocation.size if chosen else None)


# Its worker.


def test_a_build_has_its_vm_as_properties() -> None:
    lease = a_pool().building()

    assert lease.properties == {
        "vm_id": lease.vm.vm_id,
        "vm_label": "one",
        "vm_host": lease.vm.host.name,
        "vm_domain": "domain-1",
        "vm_image": "newest",
    }


def test_a_worker_may_attach_before_its_vm_has_said_that_it_has_the_identity() -> None:
    pool = a_pool()
    lease = pool.give()
    up = pool.brought_up(lease)
    machine_of(lease.vm).comes_up()

    lease.attached()
    pool.clock.advance(7)
    machine_of(lease.vm).goes_on()

    assert up.called
    assert lease.attached_at == passed(pool.clock)
    assert not pool.clock.getDelayedCalls()


def test_that_the_worker_of_a_lost_vm_had_attached_says_nothing_of_the_next_one() -> None:
    pool = a_pool()
    lease = pool.give()
    up = pool.brought_up(lease)
    machine_of(lease.vm).comes_up()
    lease.attached()
    machine_of(lease.vm).fails(GuestError("it is gone"))
    pool.clock.advance(BACKOFF.longest)

    machine_of(lease.vm).comes_up()
    machine_of(lease.vm).goes_on()
    assert not up.called
    lease.attached()
    lease.attached()

    assert up.called


def test_a_worker_that_does_not_attach_is_given_up_with_what_to_look_at() -> None:
    pool = a_pool(attach_timeout="30s")
    lease = pool.give()
    machine_of(lease.vm).booted = True
    introduced = Deferred.fromCoroutine(lease.introduce(None))  # type: ignore[arg-type]
    machine_of(lease.vm).goes_on()
    pool.clock.advance(29)
    assert not introduced.called
    pool.clock.advance(1)

    error = result_of(introduced)

    assert "did not attach within 30 s" in error.brief
    assert "attach_timeout" in error.resolution


def test_the_end_of_its_vm_is_reported_before_it_is_released() -> None:
    lease = a_pool().building()
    ended = lease.ended()

    machine_of(lease.vm).dies("QEMU has crashed")

    assert str(result_of(ended)) == "QEMU has crashed"


def test_a_connection_is_lost_since_the_vm_has_ended() -> None:
    pool = a_pool()
    lease = pool.building()
    why = Deferred.fromCoroutine(lease.loss(pool.clock))
    pool.clock.advance(1.5)

    machine_of(lease.vm).dies("QEMU has crashed")

    assert str(result_of(why)) == "QEMU has crashed"


@pytest.mark.parametrize(
    ("is_silent", "why"),
    [
        (False, "lost its connection to the master, while the VM ran on"),
        (True, "did not answer within 30 s"),
    ],
)
def test_a_connection_is_lost_although_the_vm_runs_on(why: str, *, is_silent: bool) -> None:
    pool = a_pool(attach_timeout="30s")
    lease = pool.building()
    lease.is_silent = is_silent
    asked = Deferred.fromCoroutine(lease.loss(pool.clock))
    assert not asked.called

    pool.clock.advance(2)

    assert str(result_of(asked)) == f"the worker in VM domain-1 {why}"


def test_a_guest_that_does_not_shut_down_ends_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = a_pool(shutdown="graceful", shutdown_timeout="20s")
    lease = pool.building()
    asked: list[float] = []

    async def refuse(timeout: float) -> None:
        asked.append(timeout)
        raise LatentLibvirtError("it does not answer")

    monkeypatch.setattr(machine_of(lease.vm), "shut_down", refuse)

    assert pool.given_back(lease).called
    assert asked == [20]
    assert host_of(lease.vm).discarded == [machine_of(lease.vm)]


def test_a_job_whose_new_vm_was_resumed_is_reported_as_that() -> None:
    pool = a_pool()
    lease = pool.give()
    pool.brought_up(lease)
    machine_of(lease.vm).saved = "state"
    machine_of(lease.vm).comes_up()
    assert lease.report().way == "cold"
    machine_of(lease.vm).goes_on()

    assert machine_of(lease.vm).step == "assign"
    assert lease.report().way == "resume"


def test_a_job_whose_vm_was_booted_after_all_is_reported_as_cold() -> None:
    pool = a_pool()
    lease = pool.give()
    pool.brought_up(lease)
    machine_of(lease.vm).saved = "state"
    machine_of(lease.vm).is_saved_well = False
    machine_of(lease.vm).comes_up()
    machine_of(lease.vm).goes_on()
    machine_of(lease.vm).comes_up()

    assert machine_of(lease.vm).step == "assign"
    assert lease.report().way == "cold"


def test_a_spare_that_was_resumed_is_reported_as_a_spare() -> None:
    pool = a_pool(spares=1)
    pool.tidy()
    machine = pool.paper_hosts["alpha"].machines[-1]
    machine.saved = "state"
    machine.comes_up()
    machine.goes_on()

    lease = pool.give()

    assert (lease.vm.was_resumed, lease.report().way) == (True, "spare")


def test_its_report_counts_the_vms_that_were_lost_before() -> None:
    pool = a_pool()
    lease = pool.give()
    pool.brought_up(lease)
    machine_of(lease.vm).comes_up()
    machine_of(lease.vm).fails(GuestError("it is gone"))

    report = lease.report()

    assert (report.lost, report.vm_id, report.label) == (1, lease.vm.vm_id, "one")
