# SPDX-License-Identifier: GPL-2.0-only
"""libvirt's lifecycle events, in words: does an event mean the end or a pause of a VM, and why.

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
_ENDING_PAUSES = {
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED_IOERROR: (
        "its disk failed; most likely the host's storage pool is full"
    ),
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED_WATCHDOG: (
        "its watchdog has paused it, since the guest did not answer"
    ),
}
_PAUSES = {
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED_PAUSED: "somebody has suspended it",
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED: "somebody migrates it away",
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED_FROM_SNAPSHOT: "somebody has reverted it to a snapshot",
}
_PAUSE_OF_STATE = {
    libvirt.VIR_DOMAIN_PAUSED_IOERROR: libvirt.VIR_DOMAIN_EVENT_SUSPENDED_IOERROR,
    libvirt.VIR_DOMAIN_PAUSED_WATCHDOG: libvirt.VIR_DOMAIN_EVENT_SUSPENDED_WATCHDOG,
}


def end_of_vm(event: int, detail: int) -> str | None:
    """Return why a VM has ended with this event; ``None`` if it has not."""
    if event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
        return _STOPPED.get(detail, "its domain stopped")
    if event == libvirt.VIR_DOMAIN_EVENT_CRASHED:
        return "the guest's kernel panicked"
    if event == libvirt.VIR_DOMAIN_EVENT_SUSPENDED:
        return _ENDING_PAUSES.get(detail)
    return None


def pause_of_vm(event: int, detail: int) -> str | None:
    """Return why a VM is paused since this event, empty if it runs; ``None`` if it says neither."""
    if event == libvirt.VIR_DOMAIN_EVENT_SUSPENDED:
        return _ENDING_PAUSES.get(detail) or _PAUSES.get(detail, "libvirt has paused it")
    return "" if event == libvirt.VIR_DOMAIN_EVENT_RESUMED else None


def event_of_state(state: int, reason: int) -> tuple[int, int] | None:
    """Return the event that has led to this state (``virDomainState``), if a VM is there."""
    if state == libvirt.VIR_DOMAIN_PAUSED:
        detail = _PAUSE_OF_STATE.get(reason, libvirt.VIR_DOMAIN_EVENT_SUSPENDED_PAUSED)
        return libvirt.VIR_DOMAIN_EVENT_SUSPENDED, detail
    if state == libvirt.VIR_DOMAIN_CRASHED:
        return libvirt.VIR_DOMAIN_EVENT_CRASHED, libvirt.VIR_DOMAIN_EVENT_CRASHED_PANICKED
    if state in (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_BLOCKED):
        return libvirt.VIR_DOMAIN_EVENT_RESUMED, libvirt.VIR_DOMAIN_EVENT_RESUMED_UNPAUSED
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
