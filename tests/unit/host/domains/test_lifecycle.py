# SPDX-License-Identifier: GPL-2.0-only
"""Which events mean the end of a VM."""

from __future__ import annotations

import libvirt
import pytest

from latent_libvirt.host.domains import lifecycle


@pytest.mark.parametrize("detail", range(7))
def test_every_stop_is_the_end(detail: int) -> None:
    assert lifecycle.end_of_vm(libvirt.VIR_DOMAIN_EVENT_STOPPED, detail)


def test_a_stop_of_a_kind_yet_unknown_is_the_end_too() -> None:
    assert lifecycle.end_of_vm(libvirt.VIR_DOMAIN_EVENT_STOPPED, 99)


def test_a_full_storage_pool_is_the_end() -> None:
    reason = lifecycle.end_of_vm(
        libvirt.VIR_DOMAIN_EVENT_SUSPENDED, libvirt.VIR_DOMAIN_EVENT_SUSPENDED_IOERROR
    )

    assert reason is not None
    assert "storage pool is full" in reason


@pytest.mark.parametrize(
    ("event", "detail"),
    [
        (libvirt.VIR_DOMAIN_EVENT_STARTED, libvirt.VIR_DOMAIN_EVENT_STARTED_BOOTED),
        (libvirt.VIR_DOMAIN_EVENT_RESUMED, libvirt.VIR_DOMAIN_EVENT_RESUMED_UNPAUSED),
        (libvirt.VIR_DOMAIN_EVENT_SUSPENDED, libvirt.VIR_DOMAIN_EVENT_SUSPENDED_PAUSED),
        (libvirt.VIR_DOMAIN_EVENT_SHUTDOWN, libvirt.VIR_DOMAIN_EVENT_SHUTDOWN_GUEST),
    ],
)
def test_other_events_are_not(event: int, detail: int) -> None:
    assert lifecycle.end_of_vm(event, detail) is None


SUSPENDED, RESUMED = libvirt.VIR_DOMAIN_EVENT_SUSPENDED, libvirt.VIR_DOMAIN_EVENT_RESUMED


def test_a_watchdog_that_pauses_a_vm_is_its_end() -> None:
    reason = lifecycle.end_of_vm(SUSPENDED, libvirt.VIR_DOMAIN_EVENT_SUSPENDED_WATCHDOG)

    assert reason is not None
    assert "watchdog" in reason


@pytest.mark.parametrize("detail", range(-1, 12))
def test_every_suspension_is_a_pause_until_the_vm_is_resumed(detail: int) -> None:
    assert lifecycle.pause_of_vm(SUSPENDED, detail)
    assert lifecycle.pause_of_vm(RESUMED, detail) == ""
    assert lifecycle.pause_of_vm(libvirt.VIR_DOMAIN_EVENT_STARTED, detail) is None


@pytest.mark.parametrize(
    ("state", "reason", "says"),
    [
        (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER, "somebody has suspended it"),
        (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_UNKNOWN, "somebody has suspended it"),
        (libvirt.VIR_DOMAIN_PAUSED, 99, "somebody has suspended it"),
        (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR, "its disk failed"),
        (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_WATCHDOG, "its watchdog"),
        (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_BOOTED, ""),
    ],
)
def test_a_state_says_the_same_as_the_event_that_has_led_to_it(
    state: int, reason: int, says: str
) -> None:
    event = lifecycle.event_of_state(state, reason)

    assert event is not None
    pause = lifecycle.pause_of_vm(*event)
    assert pause is not None
    assert pause.startswith(says)
    assert bool(pause) == bool(says)


def test_a_crash_is_the_end_and_states_of_what_is_not_there_say_nothing() -> None:
    crashed = lifecycle.event_of_state(libvirt.VIR_DOMAIN_CRASHED, 0)
    assert crashed is not None
    assert lifecycle.end_of_vm(*crashed)
    for state in (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_NOSTATE, 99, -1):
        assert lifecycle.event_of_state(state, 0) is None


def test_only_a_guest_that_shuts_down_has_powered_itself_off() -> None:
    stopped = libvirt.VIR_DOMAIN_EVENT_STOPPED

    assert lifecycle.powered_itself_off(stopped, libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN)
    assert not lifecycle.powered_itself_off(stopped, libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED)
