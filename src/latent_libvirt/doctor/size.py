# SPDX-License-Identifier: GPL-2.0-only
"""Check that the host has the memory and the processors for a VM of each label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from latent_libvirt.config.hardware.choice import most_size
from latent_libvirt.config.units import GIB
from latent_libvirt.doctor.finding import fine
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.host.machine_room import machine_room

if TYPE_CHECKING:
    from latent_libvirt.config.sections.label import LabelConfig
    from latent_libvirt.doctor.finding import Finding
    from latent_libvirt.doctor.host_under_test import HostUnderTest


def check_name(label: str) -> str:
    """Return what the check is called."""
    return f"size of {label}"


async def check(tested: HostUnderTest, label_name: str, label: LabelConfig) -> list[Finding]:
    """Compare the size of one label's VMs with the host's.

    :raises ConfigurationError: if not even one of them would fit.
    """
    room = await tested.host.connection.call("examine", "say what a VM can have", machine_room)
    vcpus, memory = most_size(label)
    why = room.why_too_large(vcpus=vcpus, memory=memory)
    if why:
        raise ConfigurationError(
            f"a VM of label {label_name} is too large for host {tested.name}: {why}",
            resolution="Make the label smaller (vcpus, memory), or name only larger hosts in its "
            "hosts. Until then this host gets no VM of that label.",
        )
    brief = f"{vcpus} vCPUs and {memory / GIB:.4g} GiB fit the host"
    return [fine(check_name(label_name), brief)]
