# SPDX-License-Identifier: GPL-2.0-only
"""Hardware of a host's slots: which of its CPUs and devices are for a VM in one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from latent_libvirt.config.hardware import cpu_sets
from latent_libvirt.config.hardware.devices import addresses_in, slots_with
from latent_libvirt.errors import ConfigurationError

if TYPE_CHECKING:
    from latent_libvirt.config.sections.host import HostConfig
    from latent_libvirt.config.sections.label import LabelConfig


@dataclass(frozen=True)
class SlotHardware:
    """What the configuration of a host has for its slots.

    :param host: its name.
    """

    host: str
    config: HostConfig

    def devices(self, slot: int, label: LabelConfig) -> tuple[str, ...]:
        """Return the addresses of the devices that are for a VM of *label* in *slot*.

        :raises ConfigurationError: if there is none for that slot any more.
        """
        devices = self.config.devices
        if label.devices and slots_with(devices, label.devices) < slot:
            raise ConfigurationError(
                f"slot {slot} of host {self.host} has no {' and '.join(label.devices)} any more",
                resolution="Add an address for it to the host's devices.",
            )
        return addresses_in(slot, devices, label.devices)

    def cpus(self, slot: int, label: LabelConfig) -> tuple[int, ...]:
        """Return the CPUs that are for a VM in *slot* whose *label* pins its vCPUs.

        :raises ConfigurationError: if they are too few for it by now.
        """
        sets = self.config.pinned_cpus
        found = cpu_sets.cpus(sets[slot - 1]) if slot <= len(sets) else ()
        if len(found) < label.vcpus:
            raise ConfigurationError(
                f"slot {slot} of host {self.host} has {len(found)} CPUs by now, for a VM with "
                f"{label.vcpus} vCPUs",
                resolution="Put a set of CPUs for it back into the host's pinned_cpus.",
            )
        return found
