# SPDX-License-Identifier: GPL-2.0-only
"""Whose end an event tells of: a slot's domains all have one name.

The events are made up: that one comes late is a matter of threads, and cannot be provoked.
"""

from __future__ import annotations

import libvirt
import pytest
from twisted.internet.task import Clock

from latent_libvirt.host.domains.domain_watch import DomainWatch
from latent_libvirt.host.guests.guest import Guest

STARTED = (libvirt.VIR_DOMAIN_EVENT_STARTED, libvirt.VIR_DOMAIN_EVENT_STARTED_BOOTED)
DESTROYED = (libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED)


@pytest.mark.parametrize(
    ("events", "has_ended"),
    [([DESTROYED], False), ([DESTROYED, STARTED], False), ([DESTROYED, STARTED, DESTROYED], True)],
)
def test_the_end_of_the_domain_before_is_not_that_of_the_vm(
    events: list[tuple[int, int]], *, has_ended: bool
) -> None:
    clock = Clock()
    guest = Guest("a", reactor=clock)
    watch = DomainWatch()
    ended: list[object] = []
    guest.expect().addErrback(ended.append)

    for event, detail in events:
        watch.event(event, detail, guest, is_ending=False)
    clock.advance(10)

    assert bool(ended) == has_ended


PAUSED = (libvirt.VIR_DOMAIN_EVENT_SUSPENDED, libvirt.VIR_DOMAIN_EVENT_SUSPENDED_PAUSED)
RESUMED = (libvirt.VIR_DOMAIN_EVENT_RESUMED, libvirt.VIR_DOMAIN_EVENT_RESUMED_UNPAUSED)


def test_a_domain_that_is_up_is_paused_until_it_is_resumed() -> None:
    guest, watch = Guest("a", reactor=Clock()), DomainWatch()

    def hears(*events: tuple[int, int]) -> str:
        for event, detail in events:
            watch.event(event, detail, guest, is_ending=False)
        return watch.pause

    assert hears(STARTED, PAUSED) == "", "each start does that"
    watch.is_there()
    assert hears(RESUMED) == ""
    assert hears(PAUSED) == "somebody has suspended it"
    assert hears(RESUMED) == ""
    watch.is_being_saved()
    assert hears(PAUSED, SAVED) == ""


SAVED = (libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_SAVED)


def test_the_end_of_a_domain_that_is_being_saved_is_not_that_of_the_vm() -> None:
    clock = Clock()
    guest = Guest("a", reactor=clock)
    watch = DomainWatch()
    ended: list[object] = []
    guest.expect().addErrback(ended.append)
    watch.is_there()

    watch.is_being_saved()
    watch.event(*SAVED, guest, is_ending=False)
    watch.is_there()  # it is resumed
    clock.advance(10)
    assert ended == []

    watch.event(*SAVED, guest, is_ending=True)
    clock.advance(10)
    assert len(ended) == 1
