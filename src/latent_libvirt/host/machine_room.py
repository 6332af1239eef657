# SPDX-License-Identifier: GPL-2.0-only
"""Processors, memory and architectures of a host: which VMs it can never run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import libvirt
from twisted.logger import Logger

from latent_libvirt.config.hardware.choice import most_size
from latent_libvirt.config.units import GIB
from latent_libvirt.host.architectures import MACHINES, UNKNOWN, architectures
from latent_libvirt.host.libvirtd.answers import parsed

if TYPE_CHECKING:
    from latent_libvirt.config.sections.label import LabelConfig
    from latent_libvirt.host.architectures import Architectures

log = Logger()


@dataclass(frozen=True)
class MachineRoom:
    """What one VM of a host can have at most.

    :param vcpus: as many as the host has processors, or fewer if its QEMU cannot do so many.
    :param memory: all of the host's, in bytes.
    :param architectures: of guests that the host can run.
    """

    vcpus: int
    memory: int
    architectures: Architectures = UNKNOWN

    def why_unfit(self, label: LabelConfig, *, accelerator: str) -> str:
        """Return why no VM of *label* can run there; empty if one can.

        :param accelerator: the host's setting.
        """
        vcpus, memory = most_size(label)
        why = self.architectures.why_not(label.arch, accelerator=accelerator)
        return why or self.why_too_large(vcpus=vcpus, memory=memory)

    def why_too_large(self, *, vcpus: int, memory: int) -> str:
        """Return why a VM of that size cannot run there; empty if it can.

        A host with none of something has not counted it, so it is not lacked.
        """
        if 0 < self.memory < memory:
            return f"{memory / GIB:.4g} GiB of memory are more than its {self.memory / GIB:.4g} GiB"
        if 0 < self.vcpus < vcpus:
            return f"{vcpus} vCPUs are more than the {self.vcpus} that a VM can have"
        return ""


def machine_room(connection: libvirt.virConnect) -> MachineRoom:
    """Return what a VM of the host can have at most. Blocks."""
    _model, mebibytes, cpus, *_topology = connection.getInfo()
    known = architectures(connection)
    most = _most_vcpus(connection, known.native, int(cpus))
    return MachineRoom(min(int(cpus), most), int(mebibytes) * 2**20, known)


def _most_vcpus(connection: libvirt.virConnect, arch: str, otherwise: int) -> int:
    """Return how many vCPUs the machine type of our domains allows, as far as libvirt says so."""
    try:
        xml = connection.getDomainCapabilities(None, arch, MACHINES.get(arch), None)
    except libvirt.libvirtError as error:
        if not connection.isAlive():
            raise
        log.debug("no domain capabilities: {error}", error=str(error))
        return otherwise
    element = parsed(xml, "its domain capabilities").find("vcpu[@max]")
    most = "" if element is None else str(element.get("max"))
    return int(most) if re.fullmatch("[1-9][0-9]{0,8}", most) else otherwise
