# SPDX-License-Identifier: GPL-2.0-only
"""Boots a 64-bit kernel under KVM, to see whether it runs.

The kernel and initrd are those of a published image: our initrd, asked on the kernel's command
line, powers off as soon as it runs. When to probe and what to remember is in ``accelerator.py``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import libvirt
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from latent_libvirt.config.fields.sizes import DEFAULT_MEMORY
from latent_libvirt.config.sections.network import NetworkConfig
from latent_libvirt.errors import HostError
from latent_libvirt.host.domains import slot_domains
from latent_libvirt.host.domains.domain_xml import (
    Port,
    domain_xml,
)
from latent_libvirt.host.kvm.accelerator import Verdict
from latent_libvirt.host.volumes import storage
from latent_libvirt.host.volumes.base_image import any_kernel

if TYPE_CHECKING:
    from latent_libvirt.host.context import HostContext
    from latent_libvirt.host.domains.domain_xml import (
        DirectKernel,
        DomainSpec,
        Hardware,
    )

log = Logger()

TIMEOUT = 20.0
"""Seconds that the kernel may take; where KVM works, it needs about one."""

ARGUMENT = "latent_libvirt.probe"


async def verdict_on_kvm(host: HostContext, spec: DomainSpec, *, ended: Deferred[bool]) -> Verdict:
    """Return whether a kernel runs under KVM on *host*.

    :param spec: the domain in whose slot the probe may run, before that itself is started.
    :param ended: fires at the end of that domain: whether it powered itself off.
    :raises HostError: if something else is in that slot.
    """
    boot = spec.boot or await _any_kernel(host)
    if boot is None:
        what = "no image with a kernel is published to try it with; or set the host's accelerator"
        return Verdict(what, was_tried=False)
    boot = replace(boot, command_line=f"{boot.command_line} {ARGUMENT}")
    hardware = _plain(spec.hardware)
    plain = replace(
        spec, hardware=hardware, disk=None, more_disks=(), devices=(), change=None, boot=boot
    )
    return await _try(host, plain, ended)


def _plain(hardware: Hardware) -> Hardware:
    """Return a small machine without a network, since a label's size and network are not KVM's."""
    label = hardware.vm.label
    plain = {
        "vcpus": 1,
        "cpu_pinning": False,
        "hugepages": False,
        "memory": min(label.memory, DEFAULT_MEMORY),
        "network": NetworkConfig(),
        "filter": None,
    }
    vm = replace(hardware.vm, label=label.model_copy(update=plain))
    return replace(hardware, type="kvm", vm=vm, port=Port(isolated=False, filter=None))


async def _try(host: HostContext, spec: DomainSpec, ended: Deferred[bool]) -> Verdict:
    log.info("host {host}: trying whether KVM works", host=host.connection.host)
    try:
        await host.connection.call("probe_kvm", "start a domain under KVM", _start, spec)
        powered_itself_off = await ended.addTimeout(TIMEOUT, host.reactor)
    except HostError as error:
        if not host.connection.is_up or _is_in_the_way(error):
            raise
        return Verdict(str(error), was_tried=_is_kvms(error))
    except defer.TimeoutError:
        return Verdict(f"a 64-bit kernel did not run within {TIMEOUT:g} s")
    finally:
        await host.connection.call("probe_kvm", "end the KVM probe", _end, spec)
    return Verdict("" if powered_itself_off else "its QEMU ended before the kernel ran")


def _is_in_the_way(error: HostError) -> bool:
    cause = error.__cause__
    return isinstance(cause, libvirt.libvirtError) and slot_domains.was_in_the_way(cause)


def _is_kvms(error: HostError) -> bool:
    """Whether QEMU has complained of KVM (a failed assertion in kvm.c, say) and will again.

    A device that may not be opened can be mended while the host is up.
    """
    complaint = str(error.__cause__)
    return "kvm" in complaint.lower() and "ermission denied" not in complaint


async def _any_kernel(host: HostContext) -> DirectKernel | None:
    return await host.connection.call(
        "probe_kvm",
        "look for a kernel to try KVM with",
        lambda connection: any_kernel(
            storage.storage_pool(connection, host.storage_pool), host.architecture
        ),
    )


def _start(connection: libvirt.virConnect, spec: DomainSpec) -> None:
    flags = libvirt.VIR_DOMAIN_START_AUTODESTROY | libvirt.VIR_DOMAIN_START_VALIDATE
    connection.createXML(domain_xml(spec), flags)


def _end(connection: libvirt.virConnect, spec: DomainSpec) -> None:
    slot_domains.destroy_domain(connection, spec.name, vm_id=spec.record.vm_id)
