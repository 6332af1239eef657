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
    from latent_libvirt.pool.room.allocations import Allocation
    from latent_libvirt.pool.room.caps import Caps


def may_take(
    label: str, caps: Caps, busy: Collection[Allocation], children: Collection[Allocation]
) -> bool:
    """Whether a build of *label* that nobody waits for may get a VM.

    :param busy: the allocations of VMs that do not go for a child that needs their room.
    :param children: those of them whose VM has a build that somebody waits for.
    """
    of_children = Counter(allocation.label for allocation in children)
    kept = {name: max(0, count - of_children[name]) for name, count in caps.for_children.items()}
    of_label = sum(allocation.label == label for allocation in busy)
    most = min(caps.max_vms, sum(caps.slots.values()))
    return (
        of_label + kept.get(label, 0) < caps.labels[label].max_vms
        and len(busy) + sum(kept.values()) < most
    )
