# SPDX-License-Identifier: GPL-2.0-only
"""Free slots of hosts, and the order in which VMs of a label take them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from latent_libvirt.status.names import Target

if TYPE_CHECKING:
    from latent_libvirt.pool.room.allocations import Allocations
    from latent_libvirt.pool.room.limits import Limits


class FreeSlots:
    """The slots of each host that the limits leave and that no allocation has."""

    def __init__(self, limits: Limits, allocations: Allocations) -> None:
        self._limits = limits
        self._allocations = allocations

    def of(self, host: str) -> list[int]:
        """Return the slots of *host* in which a VM could start, each of them if not all at once."""
        limits, allocations = self._limits, self._allocations
        unusable = limits.unusable_slots(host)
        if unusable is None or limits.is_drained(Target("host", host)):
            return []
        if allocations.starting(host) >= limits.caps.starting.get(host, math.inf):
            return []
        slots, taken = limits.caps.slots.get(host, 0), allocations.slots(host)
        # After the host has shrunk, there may be VMs in slots beyond its last as well.
        if len(taken) >= slots:
            return []
        every = range(1, slots + 1)
        return [slot for slot in every if slot not in taken and slot not in unusable]

    def for_label(self, label: str, host: str) -> list[int]:
        """Return the slots in which a VM of *label* could start, those first to be taken first.

        VMs that need no device leave slots with devices to others, as long as there are more.
        """
        free, caps = self.of(host), self._limits.caps
        last_slots = caps.labels[label].last_slots
        if last_slots:
            return [slot for slot in free if slot <= last_slots.get(host, 0)]
        last = caps.slots_for_devices.get(host, 0)
        return sorted(free, key=lambda slot: slot <= last) if last else free
