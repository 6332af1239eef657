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

from latent_libvirt.errors import HostError
from latent_libvirt.host.domains import slot_domains
from latent_libvirt.host.domains.domain_xml import (
    domain_xml,
)
from latent_libvirt.host.volumes import storage
from latent_libvirt.host.volumes.base_image import any_kernel

if TYPE_CHECKING:
    from latent_libvirt.host.context import HostContext
    from latent_libvirt.host.domains.domain_xml import (
        DirectKernel,
        DomainSpec,
    )

log = Logger()

TIMEOUT = 20.0
"""Seconds that the kernel may take; where KVM works, it needs about one."""

ARGUMENT = "latent_libvirt.probe"


async def defect_of_kvm(host: HostContext, spec: DomainSpec, *, ended: Deferred[bool]) -> str:
    """Return why a kernel does not run under KVM on *host*; nothing if it does.

    :param spec: the domain in whose slot the probe may run, before that itself is started.
    :param ended: fires at the end of that domain: whether it powered itself off.
    """
    boot = spec.boot or await _any_kernel(host)
    if boot is None:
        return "no image with a kernel is published to try it with; or set the host's accelerator"
    boot = replace(boot, command_line=f"{boot.command_line} {ARGUMENT}")
    hardware = replace(spec.hardware, type="kvm")
    return await _try(host, replace(spec, hardware=hardware, disk=None, boot=boot), ended)


async def _try(host: HostContext, spec: DomainSpec, ended: Deferred[bool]) -> str:
    log.info("host {host}: trying whether KVM works", host=host.connection.host)
    try:
        await host.connection.call("probe_kvm", "start a domain under KVM", _start, spec)
        powered_itself_off = await ended.addTimeout(TIMEOUT, host.reactor)
    except HostError as error:
        return str(error)
    except defer.TimeoutError:
        return f"a 64-bit kernel did not run within {TIMEOUT:g} s"
    finally:
        await host.connection.call("probe_kvm", "end the KVM probe", _end, spec)
    return "" if powered_itself_off else "its QEMU ended before the kernel ran"


async def _any_kernel(host: HostContext) -> DirectKernel | None:
    return await host.connection.call(
        "probe_kvm",
        "look for a kernel to try KVM with",
        lambda connection: any_kernel(storage.storage_pool(connection, host.storage_pool)),
    )


def _start(connection: libvirt.virConnect, spec: DomainSpec) -> None:
    flags = libvirt.VIR_DOMAIN_START_AUTODESTROY | libvirt.VIR_DOMAIN_START_VALIDATE
    connection.createXML(domain_xml(spec), flags)


def _end(connection: libvirt.virConnect, spec: DomainSpec) -> None:
    slot_domains.destroy_domain(connection, spec.uuid, vm_id=spec.record.vm_id)
