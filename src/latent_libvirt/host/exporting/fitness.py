# SPDX-License-Identifier: GPL-2.0-only
"""Fitness of a host for a VM that was saved elsewhere: its machine type and its processor.

What else libvirt and QEMU refuse, they refuse before the VM runs. All functions block.
"""

from __future__ import annotations

import libvirt
from lxml import etree

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.host.libvirtd.answers import parsed


def check(connection: libvirt.virConnect, domain: etree._Element, *, host_cpu: str) -> None:
    """See that a host can run *domain*.

    :param host_cpu: the XML of the processor that the VM ran on; empty if nobody knows.
    :raises ConfigurationError: if its processor or machine type is not to be had.
    """
    _check_machine(connection, domain)
    _check_cpu(connection, domain, host_cpu)


def _check_machine(connection: libvirt.virConnect, domain: etree._Element) -> None:
    kind = domain.find("os/type")
    arch, machine = ("", "") if kind is None else (kind.get("arch"), kind.get("machine"))
    try:
        connection.getDomainCapabilities(None, arch, machine, domain.get("type"))
    except libvirt.libvirtError as error:
        raise ConfigurationError(
            f"{connection.getURI()} cannot run a machine {machine!r} of {arch!r} by "
            f"{domain.get('type')!r}",
            details=str(error),
            resolution="Use a machine with KVM, and a QEMU that is as new.",
        ) from error


def _check_cpu(connection: libvirt.virConnect, domain: etree._Element, host_cpu: str) -> None:
    cpu = domain.find("cpu")
    if cpu is None:
        return
    xml = etree.tostring(cpu, encoding="unicode")
    if cpu.get("mode") == "host-passthrough":
        xml = host_cpu
    try:
        found = connection.compareHypervisorCPU(None, None, None, domain.get("type"), xml, 0)
    except libvirt.libvirtError as error:
        raise _wrong_cpu(connection, str(error)) from error
    if found == libvirt.VIR_CPU_COMPARE_INCOMPATIBLE:
        model = etree.fromstring(xml).findtext("model")
        raise _wrong_cpu(connection, f"The VM has seen a processor {model!r}.")


def _wrong_cpu(connection: libvirt.virConnect, details: str) -> ConfigurationError:
    return ConfigurationError(
        f"the processor of {connection.getURI()} cannot run the VM",
        details=details,
        resolution="Continue it on a machine whose processor can do at least as much.",
    )


def host_cpu(connection: libvirt.virConnect) -> str:
    """Return the XML of the processor of a host; empty if it does not say."""
    cpu = parsed(connection.getCapabilities(), "its capabilities").find("host/cpu")
    return "" if cpu is None else etree.tostring(cpu, encoding="unicode")
