# SPDX-License-Identifier: GPL-2.0-only
"""Errors with which libvirt or QEMU refuses to start a domain, sorted by what is at fault.

The codes of libvirt say little, since most of what QEMU refuses is an "internal error" with QEMU's
own message in it. What is not known here stays an error of the host.
"""

from __future__ import annotations

import re
from typing import Final

import libvirt

from latent_libvirt.errors import CapacityError, ConfigurationError, LatentLibvirtError

_CODES: Final = {
    libvirt.VIR_ERR_NO_NETWORK: "network",
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED: "label",
    libvirt.VIR_ERR_XML_ERROR: "label",
    libvirt.VIR_ERR_XML_DETAIL: "label",
    libvirt.VIR_ERR_XML_INVALID_SCHEMA: "label",
    libvirt.VIR_ERR_NO_NWFILTER: "network",
    libvirt.VIR_ERR_INVALID_NWFILTER: "network",
    libvirt.VIR_ERR_INVALID_NETWORK: "network",
    libvirt.VIR_ERR_NO_INTERFACE: "network",
    libvirt.VIR_ERR_NO_SECRET: "image",
    libvirt.VIR_ERR_INVALID_SECRET: "image",
}
_MESSAGES: Final = {
    "network": re.compile(
        r"network '.*' is not active|Cannot get interface|[Uu]nable to add bridge|"
        r"Network not found|bridge helper"
    ),
    "image": re.compile(
        r"Could not open backing file|backing file|Image is (not in|corrupt)|not in qcow2 format|"
        r"qcow2: |[Ii]nvalid argument.*qcow2|data[- ]file|[Ee]ncrypt|unsupported format"
    ),
    "label": re.compile(
        r"[Mm]aximum (CPUs|vCPU)|Invalid SMP CPUs|exceeds? .*(maxmem|max_cpus|maximum)|"
        r"[Uu]nable to find any firmware|[Uu]nable to find 'swtpm|does not support machine type|"
        r"in use by driver|(PCI|USB) device|IOMMU|[Pp]assthrough|vfio|"
        r"CPU (is incompatible|model)|Unknown CPU|unknown CPU|TPM|not supported by this QEMU"
    ),
}
_THE_HOSTS: Final = re.compile(r"Permission denied|virt type|Input/output error|No space left")
_TEMPORARY_CODES: Final = frozenset(
    {
        libvirt.VIR_ERR_NO_MEMORY,
        libvirt.VIR_ERR_OPERATION_TIMEOUT,
        libvirt.VIR_ERR_RESOURCE_BUSY,
    }
)
_TEMPORARY: Final = re.compile(
    r"Cannot allocate memory|No space left|Too many open files|temporarily unavailable|"
    r"cannot acquire state change lock"
)
_ADVICE: Final = {
    "network": "See that the label's network is there and active on that host (virsh net-list), or "
    "name another as the label's network.",
    "image": "See what 'qemu-img info --backing-chain' says of the image on that host; publish it "
    "again, or name another image for the label.",
    "label": "Change what the label asks for (vcpus, memory, network, cpu, machine, firmware, tpm, "
    "domain_xml), install what the host lacks (OVMF, swtpm), or let it use other hosts only.",
}


class CannotBeRestoredError(LatentLibvirtError):
    """A saved state is no good: nothing else was in the way."""


class SlotTakenError(CapacityError):
    """Another master has taken the slot in the meantime."""


def at_fault(error: libvirt.libvirtError) -> str:
    """Return whether ``network``, ``image`` or ``label`` is at fault; empty for the host."""
    message = error.get_error_message() or ""
    if _THE_HOSTS.search(message):
        return ""
    for what, pattern in _MESSAGES.items():
        if pattern.search(message):
            return what
    return _CODES.get(error.get_error_code(), "")


def may_pass(error: libvirt.libvirtError) -> bool:
    """Whether the host lacks something for now, so that the same may work later."""
    message = error.get_error_message() or ""
    return error.get_error_code() in _TEMPORARY_CODES or bool(_TEMPORARY.search(message))


def check(error: libvirt.libvirtError, *, host: str, label: str) -> None:
    """Raise what says so, if *error* is not the host's.

    :raises ConfigurationError: if starting the same again on that host cannot help.
    """
    what = at_fault(error)
    if what:
        raise ConfigurationError(
            f"host {host} cannot start a VM of label {label}, because of its "
            f"{'size or hardware' if what == 'label' else what}",
            details=str(error),
            resolution=_ADVICE[what],
        ) from error
