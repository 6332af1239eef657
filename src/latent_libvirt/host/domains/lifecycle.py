# SPDX-License-Identifier: GPL-2.0-only
"""libvirt's lifecycle events, in words: does an event mean the end of a VM, and why.

The numbers are those of ``virDomainEventType`` and its details (libvirt-domain.h).
"""

from __future__ import annotations

import libvirt

_STOPPED = {
    libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN: "the guest powered itself off or rebooted",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED: "somebody destroyed its domain",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED: "its domain crashed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED: "its QEMU process failed or was killed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_MIGRATED: "somebody migrated it away",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_SAVED: "somebody saved it to a file",
}
_DISK_FAILED = (
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED,
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED_IOERROR,
)


def end_of_vm(event: int, detail: int) -> str | None:
    """Return why a VM has ended with this event; ``None`` if it has not."""
    if event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
        return _STOPPED.get(detail, "its domain stopped")
    if event == libvirt.VIR_DOMAIN_EVENT_CRASHED:
        return "the guest's kernel panicked"
    if (event, detail) == _DISK_FAILED:
        return "its disk failed; most likely the host's storage pool is full"
    return None


def was_saved(event: int, detail: int) -> bool:
    """Whether the event says that the VM has ended because it was saved."""
    return (event, detail) == (
        libvirt.VIR_DOMAIN_EVENT_STOPPED,
        libvirt.VIR_DOMAIN_EVENT_STOPPED_SAVED,
    )


def powered_itself_off(event: int, detail: int) -> bool:
    """Whether the event says that the guest ended by its own will."""
    return (event, detail) == (
        libvirt.VIR_DOMAIN_EVENT_STOPPED,
        libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN,
    )
