# SPDX-License-Identifier: GPL-2.0-only
"""What a lifecycle event costs a host, in instructions, with few VMs and with many."""

from __future__ import annotations

from typing import Any

import libvirt
from twisted.internet.task import Clock

from latent_libvirt.config import HostConfig
from latent_libvirt.host import names
from latent_libvirt.host.context import PoolContext
from latent_libvirt.host.domains.domain_xml import VmRecord
from latent_libvirt.host.domains.machine import Machine
from latent_libvirt.host.domains.plan import MachinePlan
from latent_libvirt.host.host import Host
from latent_libvirt.host.names import Owner
from specs import a_spec
from work import instructions

OWNER = Owner("master", "pool")


def host_with(count: int) -> tuple[Host, Machine]:
    """Return a host of which *count* VMs are registered, and the one in the last slot."""
    memory: Any = None
    context = PoolContext(OWNER, {}, memory, lambda: None, Clock())
    config = HostConfig(uri="test:///default", slots=count, storage_pool="default")
    host, other = Host("one", config, context), Host("other", config, context)
    spec = a_spec()
    for slot in range(1, count + 1):
        for each in (host, other):
            record = VmRecord(OWNER.id, "m", "p", f"{each.name}{slot}", "label", "w", "i", "")
            each.new_machine(MachinePlan(slot, record, spec))
    return host, host.live.by_id[f"one{count}"]


def cost_of_an_event(count: int) -> int:
    host, machine = host_with(count)
    heard: list[tuple[int, int]] = []
    machine.domain_event = lambda *event: heard.append(event)  # type: ignore[method-assign]
    name = names.domain_name(count)

    cost = instructions(lambda: host.domain_event(name, libvirt.VIR_DOMAIN_EVENT_STOPPED, 1))

    assert heard == [(libvirt.VIR_DOMAIN_EVENT_STOPPED, 1)]
    return cost


def test_an_event_costs_the_same_with_ten_vms_and_with_thousands() -> None:
    assert cost_of_an_event(10) == cost_of_an_event(2_000)


def test_an_event_of_a_slot_whose_vm_is_gone_is_nobodys() -> None:
    host, machine = host_with(3)
    heard: list[tuple[int, int]] = []
    machine.domain_event = lambda *event: heard.append(event)  # type: ignore[method-assign]

    host.live.remove(machine)
    host.domain_event(names.domain_name(3), libvirt.VIR_DOMAIN_EVENT_STOPPED, 1)

    assert heard == []
