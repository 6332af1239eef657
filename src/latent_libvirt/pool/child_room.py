# SPDX-License-Identifier: GPL-2.0-only
"""Room that is kept for builds that others wait for: pure arithmetic, no I/O, no clock.

A build with ``Trigger(waitForFinish=True)`` keeps its VM until its children have ended. If such
builds take all VMs, no child ever starts. So a label may keep some of its VMs for children
(``reserve_for_children``): other builds get a VM only if that many are left for them, within the
cap of the label and that of the master.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.pool.room.allocations import Allocation


def may_take(
    label: str, config: PoolConfig, busy: Collection[Allocation], children: Collection[Allocation]
) -> bool:
    """Whether a build of *label* that nobody waits for may get a VM.

    :param busy: the allocations of VMs that do not go for a child that needs their room.
    :param children: those of them whose VM has a build that somebody waits for.
    """
    of_children = Counter(allocation.label for allocation in children)
    kept = {
        name: max(0, other.reserve_for_children - of_children[name])
        for name, other in config.labels.items()
    }
    of_label = sum(allocation.label == label for allocation in busy)
    slots = sum(host.slots for host in config.hosts.values())
    return of_label + kept[label] < config.labels[label].max_vms and len(busy) + sum(
        kept.values()
    ) < min(config.master.max_vms, slots)


def is_kept(config: PoolConfig) -> bool:
    """Whether any label keeps room for children."""
    return any(label.reserve_for_children for label in config.labels.values())
