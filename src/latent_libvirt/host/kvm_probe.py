# SPDX-License-Identifier: GPL-2.0-only
"""Boots a 64-bit kernel under KVM, to see whether it runs.

The kernel and initrd are those of a published image: our initrd, told so on the kernel's command
line, powers off as soon as it runs. When to probe and what to remember is in ``accelerator.py``.
"""

from __future__ import annotations

from dataclasses import replace

import libvirt
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from latent_libvirt.errors import HostError
from latent_libvirt.host import domains, storage
from latent_libvirt.host.base_image import any_kernel
from latent_libvirt.host.domain_xml import DirectKernel, DomainSpec, domain_xml
from latent_libvirt.host.facilities import HostFacilities

log = Logger()

TIMEOUT = 20.0
"""Seconds that the kernel may take; where KVM works, it needs about one."""

ARGUMENT = "latent_libvirt.probe"


async def kvm_boots(host: HostFacilities, spec: DomainSpec, *, ended: Deferred[bool]) -> bool:
    """Return whether a kernel runs under KVM on *host*.

    :param spec: the domain in whose slot the probe may run, before that itself is started.
    :param ended: fires at the end of that domain: whether it powered itself off.
    """
    boot = spec.boot or await _any_kernel(host)
    if boot is None:
        log.warn(
            "host {host}: no published image with a kernel to try KVM with; publish one, or set "
            "the host's accelerator",
            host=host.connection.host,
        )
        return False
    boot = replace(boot, command_line=f"{boot.command_line} {ARGUMENT}")
    hardware = replace(spec.hardware, type="kvm")
    return await _boots(host, replace(spec, hardware=hardware, disk=None, boot=boot), ended)


async def _boots(host: HostFacilities, spec: DomainSpec, ended: Deferred[bool]) -> bool:
    log.info("host {host}: trying whether KVM works", host=host.connection.host)
    try:
        await host.connection.call("start a domain under KVM", _start, spec)
        return await ended.addTimeout(TIMEOUT, host.reactor)
    except (HostError, defer.TimeoutError):
        return False
    finally:
        await host.connection.call("end the KVM probe", _end, spec)


async def _any_kernel(host: HostFacilities) -> DirectKernel | None:
    return await host.connection.call(
        "look for a kernel to try KVM with",
        lambda connection: any_kernel(storage.storage_pool(connection, host.storage_pool)),
    )


def _start(connection: libvirt.virConnect, spec: DomainSpec) -> None:
    flags = libvirt.VIR_DOMAIN_START_AUTODESTROY | libvirt.VIR_DOMAIN_START_VALIDATE
    connection.createXML(domain_xml(spec), flags)


def _end(connection: libvirt.virConnect, spec: DomainSpec) -> None:
    domains.destroy_domain(connection, spec.uuid, lease=spec.record.lease)
