# SPDX-License-Identifier: GPL-2.0-only
"""Processors and memory of a host, and which VMs are too large for it whatever else runs there."""

from __future__ import annotations

from dataclasses import dataclass

import libvirt
from twisted.logger import Logger

from latent_libvirt.config.units import GIB
from latent_libvirt.host.libvirtd.answers import parsed

log = Logger()


@dataclass(frozen=True)
class MachineRoom:
    """What one VM of a host can have at most.

    :param vcpus: as many as the host has processors, or fewer if its QEMU cannot do so many.
    :param memory: all of the host's, in bytes.
    """

    vcpus: int
    memory: int

    def why_too_large(self, *, vcpus: int, memory: int) -> str:
        """Return why a VM of that size cannot run there; empty if it can."""
        if memory > self.memory:
            return f"{memory / GIB:.4g} GiB of memory are more than its {self.memory / GIB:.4g} GiB"
        if vcpus > self.vcpus:
            return f"{vcpus} vCPUs are more than the {self.vcpus} that a VM can have"
        return ""


def machine_room(connection: libvirt.virConnect) -> MachineRoom:
    """Return what a VM of the host can have at most. Blocks."""
    _model, mebibytes, cpus, *_topology = connection.getInfo()
    return MachineRoom(min(int(cpus), _most_vcpus(connection, int(cpus))), int(mebibytes) * 2**20)


def _most_vcpus(connection: libvirt.virConnect, otherwise: int) -> int:
    """Return how many vCPUs the machine type of our domains allows, as far as libvirt says so."""
    try:
        xml = connection.getDomainCapabilities(None, None, "q35", None)
    except libvirt.libvirtError as error:
        if not connection.isAlive():
            raise
        log.debug("no domain capabilities: {error}", error=str(error))
        return otherwise
    element = parsed(xml, "its domain capabilities").find("vcpu[@max]")
    most = "" if element is None else str(element.get("max"))
    return int(most) if most.isascii() and most.isdecimal() else otherwise
