# SPDX-License-Identifier: GPL-2.0-only
"""The status of a pool, as people see it."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from latent_libvirt.cli.drain import used
from latent_libvirt.cli.views.status_view import (
    duration,
    overview,
)
from latent_libvirt.config.units import GIB
from latent_libvirt.status.hosts import Density, HostStatus, SavedStateStatus, Usage
from latent_libvirt.status.names import BuildRef, Target
from latent_libvirt.status.pool import LabelStatus, PoolStatus
from latent_libvirt.status.queue import QueueStatus, WaitingStatus
from latent_libvirt.status.vms import FrozenStatus, HeldStatus, SpareStatus
from statuses import lease as a_lease

ALPHA = HostStatus("alpha", True, "", False, 4, 1, (), True)
LABEL = LabelStatus("debian-12", False, 3, 1, ("alpha",), True)
LEASE = a_lease(seconds_in_phase=75.0, seconds=90.0, job=BuildRef("check", 12, "http://master/"))
QUEUE = QueueStatus("debian-12", 0, 0.0)
POOL = PoolStatus(
    *("alpha:/srv/master", "pool", 3, 1, ""),
    hosts=(ALPHA,),
    labels=(LABEL,),
    leases=(LEASE,),
    waiting=(QUEUE,),
    generation=1,
    loaded_at=0.0,
)


def shown(status: PoolStatus) -> list[str]:
    """Return the lines on a terminal of usual width, without the space around them."""
    written = io.StringIO()
    Console(width=100, file=written).print(overview(status))
    return [" ".join(line.split()) for line in written.getvalue().splitlines()]


def test_it_begins_with_how_much_of_the_cap_is_used() -> None:
    assert shown(POOL)[0] == "1 of at most 3 VMs pool pool of alpha:/srv/master"


def test_each_vm_says_what_it_does_for_how_long_and_for_which_build() -> None:
    assert "debian-12-1 alpha latent-libvirt-1 build 1m 15s 1m 30s check/12" in shown(POOL)


def test_a_host_says_how_many_slots_are_saved_and_what_that_takes() -> None:
    states = tuple(SavedStateStatus(slot, "debian-12", GIB // 4) for slot in (1, 2))
    alpha = replace(ALPHA, saved=states, saved_state_space=Usage(GIB // 2, 20 * GIB))

    assert "alpha 1 4 2: 0.5 of 20 GiB ready" in shown(replace(POOL, hosts=(alpha,)))


@pytest.mark.parametrize(
    ("resumable", "shows"), [(80, "5 GiB ready"), (81, "5 GiB (80 of 81 states fit) ready")]
)
def test_a_host_says_how_many_states_fit_if_that_is_not_all(resumable: int, shows: str) -> None:
    states = (SavedStateStatus(1, "small", GIB // 16), SavedStateStatus(1, "large", GIB // 16))
    space = Usage(GIB // 8, 5 * GIB)
    alpha = replace(ALPHA, saved=states, saved_state_space=space, resumable=resumable)

    assert f"alpha 1 4 1: 0.12 of {shows}" in shown(replace(POOL, hosts=(alpha,)))


@pytest.mark.parametrize(
    ("density", "shows"),
    [
        (
            Density(12, 3 * GIB, 24 * GIB, 3 * GIB // 2),
            "12: 3 of 24 GiB (KSM: 1.5 GiB on the host) ready",
        ),
        (Density(1, GIB // 4, 24 * GIB, 0), "1: 0.25 of 24 GiB ready"),
        (Density(1, GIB // 4, 24 * GIB), "1: 0.25 of 24 GiB ready"),
        (Density(0, 0, 24 * GIB, 0), "ready"),
        (None, "ready"),
    ],
    ids=["shared", "not shared", "nobody knows", "no VM", "not read"],
)
def test_a_host_says_how_densely_its_vms_are_packed(density: Density | None, shows: str) -> None:
    lines = shown(replace(POOL, hosts=(replace(ALPHA, density=density),)))

    assert f"alpha 1 4 {shows}" in lines
    assert ("HOST VMS SLOTS DENSITY STATE" in lines) == (shows != "ready")


def test_a_vm_that_is_there_only_to_be_saved_is_told() -> None:
    vm = SpareStatus("debian-12", "alpha", "latent-libvirt-2", "bb", "cc", "boot", 7.0)
    lines = shown(replace(POOL, leases=(), saving=(vm,)))

    assert "TO BE SAVED HOST DOMAIN PHASE AGE" in lines
    assert lines[-1] == "debian-12 alpha latent-libvirt-2 boot 7 s"


@pytest.mark.parametrize(
    "alpha",
    [replace(ALPHA, usable=False, trouble="no answer"), replace(ALPHA, drained=True)],
    ids=["not usable", "drained"],
)
def test_a_label_is_not_ready_while_none_of_its_hosts_takes_vms(alpha: HostStatus) -> None:
    assert "debian-12 1 3 0 no host takes VMs" in shown(replace(POOL, hosts=(alpha,)))
    both = (alpha, replace(ALPHA, name="beta"))
    label = replace(LABEL, hosts=("alpha", "beta"))
    assert "debian-12 1 3 0 ready" in shown(replace(POOL, hosts=both, labels=(label,)))


def test_no_text_of_a_host_a_guest_or_a_client_commands_the_terminal() -> None:
    bad = "\x1b[2J\u202e[red]"
    job = BuildRef(bad, 1, bad)
    alpha = replace(ALPHA, usable=False, trouble=bad, squatters=(bad,))
    status = replace(
        POOL,
        refused=bad,
        hosts=(alpha,),
        labels=(replace(LABEL, unfit=(bad,), image=bad),),
        leases=(a_lease(job=job), replace(a_lease(), failure=bad, hold_for=5.0, hold_asked_by=bad)),
        spares=(SpareStatus(bad, bad, bad, bad, bad, bad, 1.0),),
        held=(HeldStatus(bad, bad, bad, bad, bad, 1.0, job),),
        frozen=(FrozenStatus(bad, bad, bad, bad, bad, 1.0, 1, trouble=bad),),
        explained=(WaitingStatus(1, bad, 0, 1.0, (bad,), bad, bad),),
    )
    written = io.StringIO()
    Console(width=400, file=written, markup=False).print(overview(status))

    assert written.getvalue().count("\\x1b[2J\\u202e[red]") > 15
    assert all(line.isprintable() for line in written.getvalue().splitlines())


def test_no_vm_is_said_too() -> None:
    assert shown(replace(POOL, leases=()))[-1] == "No VM."


@pytest.mark.parametrize(
    ("host", "state"),
    [
        (ALPHA, "ready"),
        (replace(ALPHA, used=4), "full"),
        (replace(ALPHA, drained=True), "drained, 1 to go"),
        (replace(ALPHA, drained=True, used=0), "drained"),
        (replace(ALPHA, blocked=(2, 3)), "slots held by others: 2, 3"),
        (replace(ALPHA, shared=True), "ready; shared with another owner"),
        (replace(ALPHA, usable=False, trouble="no [route]"), "not usable: no [route]"),
        (
            replace(ALPHA, usable=False, trouble="x", drained=True),
            "not usable: x; drained, 1 to go",
        ),
    ],
)
def test_a_host_says_why_nothing_starts_there(host: HostStatus, state: str) -> None:
    lines = shown(replace(POOL, hosts=(host,)))

    assert f"alpha {host.used} 4 {state}" in lines


def test_budgets_are_shown_where_there_are_some() -> None:
    budgeted = replace(ALPHA, vcpus=Usage(2, 16), memory=Usage(3 * GIB // 2, 48 * GIB))
    lines = shown(replace(POOL, hosts=(budgeted, replace(ALPHA, name="beta"))))

    assert "HOST VMS SLOTS VCPUS MEMORY STATE" in lines
    assert "alpha 1 4 2 of 16 1.5 of 48 GiB ready" in lines
    assert "beta 1 4 ready" in lines
    assert "HOST VMS SLOTS STATE" in shown(POOL)


GIVEN_OUT = Usage(17 * GIB, 16 * GIB)


@pytest.mark.parametrize(
    "full", [replace(ALPHA, vcpus=GIVEN_OUT), replace(ALPHA, memory=GIVEN_OUT)]
)
def test_a_host_whose_budget_is_given_out_is_full(full: HostStatus) -> None:
    assert any(line.endswith("full") for line in shown(replace(POOL, hosts=(full,))))


@pytest.mark.parametrize(
    ("label", "state"),
    [
        (LABEL, "ready"),
        (replace(LABEL, used=3), "full"),
        (replace(LABEL, drained=True), "drained, 1 to go"),
    ],
)
def test_a_label_says_why_nothing_of_it_starts(label: LabelStatus, state: str) -> None:
    assert f"debian-12 {label.used} 3 0 {state}" in shown(replace(POOL, labels=(label,)))


def test_a_label_says_how_many_requests_wait_and_for_how_long_the_oldest_does() -> None:
    lines = shown(replace(POOL, waiting=(QueueStatus("debian-12", 7, 75.0),)))

    assert "debian-12 1 3 7 1m 15s ready" in lines


def test_a_queue_that_the_database_has_not_told_is_not_taken_for_an_empty_one() -> None:
    assert "debian-12 1 3 ? ready" in shown(replace(POOL, waiting=None))


def test_requests_that_wait_for_no_label_alone_are_told_too() -> None:
    queues = (QueueStatus("debian-12", 0, 0.0), QueueStatus("", 2, 5.0), QueueStatus("old", 1, 9.0))

    lines = shown(replace(POOL, waiting=queues))

    several = "(several, or by the properties of each job)"
    assert f"Also waiting, for label {several}: 2, the oldest for 5 s." in lines
    assert "Also waiting, for label old: 1, the oldest for 9 s." in lines


def test_each_reason_is_told_once_for_each_builder_the_longest_wait_first() -> None:
    explained = [
        WaitingStatus(1, "docs", 0, 5.0, ("debian-12",), "lock", "lock a is held by check #1"),
        WaitingStatus(2, "check", 0, 75.0, ("debian-12",), "cap", "all 3 VMs are taken"),
        WaitingStatus(3, "check", 0, 9.0, ("debian-12",), "cap", "all 3 VMs are taken"),
    ]
    lines = shown(replace(POOL, explained=tuple(explained)))

    first = lines.index("check 2 1m 15s all 3 VMs are taken")
    assert lines[first + 1] == "docs 1 5 s lock a is held by check #1"


def test_a_refused_configuration_comes_before_everything_else() -> None:
    lines = shown(replace(POOL, refused="pool.yaml:2:3: [wrong]"))

    assert lines[1].startswith("! What was saved last is refused")
    assert lines[2] == "pool.yaml:2:3: [wrong]"


def test_a_vm_that_failed_says_why_instead_of_its_build() -> None:
    lines = shown(replace(POOL, leases=(replace(LEASE, failure="it died"),)))

    assert any(line.endswith("it died") for line in lines)


@pytest.mark.parametrize(
    ("asker", "says"),
    [("", "will be held for 2h 00m"), ("olga", "will be held for 2h 00m, asked for by olga")],
)
def test_a_vm_that_will_be_held_says_for_how_long_and_who_has_asked(asker: str, says: str) -> None:
    lease = replace(LEASE, hold_for=7200.0, hold_asked_by=asker)

    words = " ".join(shown(replace(POOL, leases=(lease,))))

    assert f"check/12; {says}" in words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.9, "0 s"), (59, "59 s"), (60, "1m 00s"), (3661, "1h 01m"), (90000, "1d 01h")],
)
def test_a_duration_has_its_two_largest_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_drain_waits_also_for_room_that_is_only_kept() -> None:
    pool = replace(POOL, leases=())

    assert used(pool, Target("host", "alpha")) == 1
    assert used(pool, Target("label", "debian-12")) == 1


def test_a_drain_waits_for_vms_of_a_host_that_has_left_the_configuration() -> None:
    pool = replace(POOL, hosts=(), labels=())

    assert used(pool, Target("host", "alpha")) == 1
    assert used(pool, Target("label", "debian-12")) == 1
    assert used(pool, Target("label", "other")) == 0


def test_how_workers_come_to_their_master_is_shown_once_one_of_them_uses_a_channel() -> None:
    by_channel = replace(LEASE, connection="channel", worker="hermetic-1")
    lines = shown(replace(POOL, leases=(replace(LEASE, connection="tcp"), by_channel)))

    assert "WORKER HOST DOMAIN BY PHASE FOR AGE BUILD" in lines
    assert "hermetic-1 alpha latent-libvirt-1 channel build 1m 15s 1m 30s check/12" in lines
    assert "WORKER HOST DOMAIN PHASE FOR AGE BUILD" in shown(POOL)


def test_what_builds_have_fetched_is_shown_once_one_of_them_can() -> None:
    can = replace(LEASE, connection="channel", worker="fetching-1", requests=14, refused=2)
    lines = shown(replace(POOL, leases=(LEASE, can)))

    assert "WORKER HOST DOMAIN BY FETCHED PHASE FOR AGE BUILD" in lines
    assert any("channel 12 of 14 build" in line for line in lines), lines


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_narrow_terminal_shows_each_column(width: int) -> None:
    density = Density(1, int(0.63 * GIB), int(23.54 * GIB), int(0.46 * GIB))
    trouble = "not usable: Cannot recv data: Host key verification failed"
    host = replace(ALPHA, usable=False, trouble=trouble, density=density)
    written = io.StringIO()

    Console(width=width, file=written).print(overview(replace(POOL, hosts=(host,))))

    words = set(written.getvalue().split())
    assert {"HOST", "alpha", "VMS", "SLOTS", "DENSITY", "(KSM:", "0.46", "STATE"} <= words
