# SPDX-License-Identifier: GPL-2.0-only
"""Whose end an event tells of: a slot's domains all have one name.

The events are made up: that one comes late is a matter of threads, and cannot be provoked.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import libvirt
import pytest
from twisted.internet.task import Clock

from latent_libvirt.host.domains.machine import Machine

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
    host: Any = SimpleNamespace(reactor=clock, uuid="host")
    machine = Machine(host, plan())
    ended: list[object] = []
    machine.guest.expect().addErrback(ended.append)

    for event, detail in events:
        machine.domain_event(event, detail)
    clock.advance(10)

    assert bool(ended) == has_ended


def plan() -> Any:
    return SimpleNamespace(slot=1, record=SimpleNamespace(owner_id="owner", vm_id="vm"))
