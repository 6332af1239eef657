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


def test_only_a_guest_that_shuts_down_has_powered_itself_off() -> None:
    stopped = libvirt.VIR_DOMAIN_EVENT_STOPPED

    assert lifecycle.powered_itself_off(stopped, libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN)
    assert not lifecycle.powered_itself_off(stopped, libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED)
