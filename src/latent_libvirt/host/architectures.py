# SPDX-License-Identifier: GPL-2.0-only
"""Architectures whose guests a host can run, each with KVM or emulated, by what libvirt says.

What libvirt does not say is not lacked. KVM that libvirt offers need not work: see ``kvm/``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import libvirt

from latent_libvirt.host.libvirtd.answers import parsed
from latent_libvirt.images.architectures import AARCH64, QEMU_PACKAGES, X86_64

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lxml import etree

MACHINES: Final = {X86_64: "q35", AARCH64: "virt"}
"""The machine of domains of each architecture, unless their label names another one."""


@dataclass(frozen=True)
class Architectures:
    """What guests a host can run.

    :param native: the host's own; x86_64 if libvirt does not say.
    :param kinds: the types of domains, ``kvm`` and ``qemu``, by architecture; empty if libvirt does
        not say.
    """

    native: str = X86_64
    kinds: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def why_not(self, arch: str, *, accelerator: str = "auto") -> str:
        """Return why no guest of *arch* can run there; empty if one can.

        :param accelerator: the host's setting.
        """
        lack = self.lack(arch, accelerator=accelerator)
        return f"it has no {lack}" if lack else ""

    def lack(self, arch: str, *, accelerator: str = "auto") -> str:
        """Return what is lacked for guests of *arch*, in words; empty if nothing is."""
        if not self.kinds:
            return ""
        if arch not in self.kinds:
            package = QEMU_PACKAGES.get(arch)
            advice = f" (Debian: install {package}, and restart libvirtd)" if package else ""
            return f"QEMU for {arch}{advice}"
        if accelerator == "kvm" and arch != self.native:
            return f"KVM for {arch}, and its accelerator is kvm"
        return ""

    def __str__(self) -> str:
        shown = [arch for arch in sorted(self.kinds) if arch in (*MACHINES, self.native)]
        return ", ".join(f"{arch} ({self._how(arch)})" for arch in shown)

    def _how(self, arch: str) -> str:
        return "with KVM" if "kvm" in self.kinds[arch] else "emulated"


UNKNOWN: Final = Architectures()


def architectures(connection: libvirt.virConnect) -> Architectures:
    """Return what guests the host can run. Blocks."""
    try:
        xml = connection.getCapabilities()
    except libvirt.libvirtError:
        if not connection.isAlive():
            raise
        return UNKNOWN
    found = parsed(xml, "its capabilities")
    kinds = {str(each.get("name")): _kinds(each) for each in found.findall("guest/arch")}
    known = {arch: types for arch, types in kinds.items() if types}
    return Architectures(found.findtext("host/cpu/arch") or X86_64, known) if known else UNKNOWN


def _kinds(arch: etree._Element) -> frozenset[str]:
    types = {str(each.get("type")) for each in arch.findall("domain")}
    return frozenset(types & {"kvm", "qemu"})
