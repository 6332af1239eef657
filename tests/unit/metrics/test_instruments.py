# SPDX-License-Identifier: GPL-2.0-only
"""What is counted, event by event."""

from __future__ import annotations

from dataclasses import replace

import pytest

from latent_libvirt.errors import (
    CapacityError,
    ConfigurationError,
    GivenUpError,
    GuestError,
    HostError,
    LatentLibvirtError,
)
from latent_libvirt.host.events import HostEvents
from latent_libvirt.metrics.instruments import Instruments, reason
from metric_families import CONFIG, PLACE, REPORT


@pytest.fixture
def instruments() -> Instruments:
    return Instruments("pool")


def value(instruments: Instruments, name: str, **labels: str) -> float | None:
    all_labels = {"pool": "pool", **labels}
    return instruments.registry.get_sample_value(f"latent_libvirt_{name}", all_labels)


def phase_sum(instruments: Instruments, phase: str) -> float | None:
    return value(instruments, "vm_phase_duration_seconds_sum", host="alpha", phase=phase)


def test_each_phase_of_a_vm_is_measured_once_by_who_knows_it(instruments: Instruments) -> None:
    instruments.vm_is_up(PLACE, {"clone": 1.0, "boot": 8.0})
    instruments.lease_began(REPORT, seconds=11.5)
    instruments.lease_ended(REPORT)
    instruments.vm_ended(PLACE, {"tear-down": 0.5})

    phases = ("clone", "boot", "attach", "tear-down")
    assert [phase_sum(instruments, phase) for phase in phases] == [1, 8, 2, 0.5]
    assert phase_sum(instruments, "build") is None
    assert value(instruments, "build_duration_seconds_sum", label="debian-12") == 100


def test_starts_are_told_apart_by_the_way_that_the_job_came_by_its_vm(
    instruments: Instruments,
) -> None:
    instruments.lease_began(REPORT, seconds=11.0)
    instruments.lease_began(replace(REPORT, way="spare"), seconds=0.5)

    name = "vm_startup_duration_seconds_sum"
    assert value(instruments, name, label="debian-12", way="cold") == 11
    assert value(instruments, name, label="debian-12", way="spare") == 0.5


def test_builds_that_shared_a_vm_are_as_many_as_they_were(instruments: Instruments) -> None:
    instruments.lease_ended(replace(REPORT, builds=4))
    instruments.lease_ended(replace(REPORT, failure="it died", phases={"assign": 1.0}))

    assert value(instruments, "build_duration_seconds_count", label="debian-12") == 4
    assert value(instruments, "build_duration_seconds_sum", label="debian-12") == 100


def test_vms_start_fail_and_end(instruments: Instruments) -> None:
    instruments.vm_started(PLACE)
    instruments.vm_started(PLACE)
    instruments.vm_failed(PLACE, GuestError("silence"))
    instruments.vm_ended(PLACE, {})

    on = {"label": "debian-12", "host": "alpha"}
    assert value(instruments, "vms_started_total", **on) == 2
    assert value(instruments, "vms_ended_total", **on) == 1
    assert value(instruments, "failures_total", host="alpha", reason="guest") == 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConfigurationError("no such label"), "configuration"),
        (GivenUpError("three VMs are enough"), "given_up"),
        (CapacityError("no room"), "capacity"),
        (HostError("no answer"), "host"),
        (GuestError("silence"), "guest"),
        (LatentLibvirtError("something"), "unexpected"),
        (ZeroDivisionError(), "unexpected"),
    ],
)
def test_a_failure_is_of_those_who_have_to_act(
    instruments: Instruments, error: Exception, expected: str
) -> None:
    instruments.failed(error, host="alpha")

    assert reason(error) == expected
    assert value(instruments, "failures_total", host="alpha", reason=expected) == 1


def test_failures_before_there_was_a_host_have_none(instruments: Instruments) -> None:
    instruments.failed(ConfigurationError("no such label"))

    assert value(instruments, "failures_total", host="", reason="configuration") == 1


def test_rare_events_are_counted_from_zero_so_that_the_first_is_an_increase(
    instruments: Instruments,
) -> None:
    instruments.configured(CONFIG)
    instruments.connection_lost("alpha")
    instruments.configured(CONFIG)

    assert value(instruments, "host_connection_losses_total", host="alpha") == 1
    assert value(instruments, "leaks_total", host="alpha", kind="overlay") == 0
    for host in ("alpha", ""):
        assert value(instruments, "failures_total", host=host, reason="guest") == 0


def test_hosts_tell_their_calls_and_leaks(instruments: Instruments) -> None:
    events: HostEvents = instruments
    events.call_ended("alpha", "survey", "ok", 0.25)
    events.leaks_freed("alpha", "domain", 1)
    events.leaks_freed("alpha", "overlay", 2)
    events.leaks_freed("alpha", "saved", 3)
    events.vm_saved("alpha")
    events.state_rejected("alpha")

    call = {"host": "alpha", "operation": "survey", "outcome": "ok"}
    assert value(instruments, "libvirt_call_duration_seconds_sum", **call) == 0.25
    assert value(instruments, "leaks_total", host="alpha", kind="domain") == 1
    assert value(instruments, "leaks_total", host="alpha", kind="overlay") == 2
    assert value(instruments, "leaks_total", host="alpha", kind="saved") == 3
    assert value(instruments, "vms_saved_total", host="alpha") == 1
    assert value(instruments, "saved_states_rejected_total", host="alpha") == 1


def test_spares_are_hit_or_missed(instruments: Instruments) -> None:
    instruments.spare_asked_for(label="debian-12", was_ready=True)
    instruments.spare_asked_for(label="debian-12", was_ready=False)
    instruments.spare_asked_for(label="debian-12", was_ready=False)

    assert value(instruments, "spare_hits_total", label="debian-12") == 1
    assert value(instruments, "spare_misses_total", label="debian-12") == 2


def test_the_times_at_which_counters_were_made_are_nobodys_business(
    instruments: Instruments,
) -> None:
    instruments.vm_started(PLACE)

    names = [s.name for metric in instruments.registry.collect() for s in metric.samples]
    assert names
    assert not [name for name in names if name.endswith("_created")]
