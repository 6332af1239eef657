# SPDX-License-Identifier: GPL-2.0-only
"""VMs of failed builds: whether one is held in its slot, frozen, or not kept, and why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latent_libvirt.config.sections.label import LabelConfig
    from latent_libvirt.pool.lease import Lease


def hold(lease: Lease, label: LabelConfig, held: int) -> None:
    """Have the VM of *lease* held when it is released, if its label wants that of failed builds.

    :param label: as it is configured now.
    :param held: how many VMs of the label are held in their slots.
    """
    if lease.hold_for is not None or not label.hold_on_failure:
        return
    if label.freeze or held < label.max_held:
        lease.hold_for = label.hold_on_failure
        lease.is_to_be_frozen = label.freeze
    else:
        lease.why_not_held = (
            f"label {lease.label_name} holds {held} of the {label.max_held} VMs that max_held "
            "allows"
        )
        lease.hold_remedy = "Release a VM that is held, or raise max_held in the pool's YAML file."
