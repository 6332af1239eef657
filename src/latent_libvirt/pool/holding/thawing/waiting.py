# SPDX-License-Identifier: GPL-2.0-only
"""Reasons why a frozen VM that is to be thawed waits, for people to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latent_libvirt.status.names import Target

if TYPE_CHECKING:
    from latent_libvirt.host.host import Host
    from latent_libvirt.host.states.frozen import FrozenVm
    from latent_libvirt.pool.room.capacity import Capacity


def what_it_waits_for(vm: FrozenVm, host: Host, capacity: Capacity) -> str:
    """Return, as a sentence without its full stop, what has to end before *vm* is thawed.

    :param host: on which it is to go on.
    """
    if not host.usable:
        return f"host {host.name} is not usable: {host.trouble}"
    for target in (Target("host", host.name), Target("label", vm.record.label)):
        if capacity.is_drained(target):
            return f"{target} is drained ('latent-libvirt undrain' ends that)"
    return f"{_slot(vm.slot, host, capacity)} host {host.name}"


def _slot(slot: int, host: Host, capacity: Capacity) -> str:
    taken = {(each.host, each.slot) for each in capacity.taken}
    if (host.name, slot) in taken:
        return f"another VM has slot {slot} of"
    if slot in host.blocked_slots:
        return f"a domain that is no VM of the pool has slot {slot} of"
    return f"max_vms, vcpus or memory leave it no room in slot {slot} of"
