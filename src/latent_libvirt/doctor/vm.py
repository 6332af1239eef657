# SPDX-License-Identifier: GPL-2.0-only
"""Check that a VM of each label boots and shakes hands, and that nothing stays of it.

The VM comes to the point where a master would give it its identity, and is then destroyed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from latent_libvirt.doctor import channel
from latent_libvirt.doctor.finding import fine, warning
from latent_libvirt.errors import HostError
from latent_libvirt.host import inspection, sweep
from latent_libvirt.pool.timeline import Timeline

if TYPE_CHECKING:
    from latent_libvirt.config.sections.label import LabelConfig
    from latent_libvirt.doctor.finding import Finding
    from latent_libvirt.doctor.host_under_test import HostUnderTest
    from latent_libvirt.host.domains.machine import Machine

SLOTS = "slots"

SLOW_START = 5.0
"""Seconds that libvirt takes to start QEMU before that is worth a line; 0.4 s is usual."""

SLOW_DESTROY = 0.7
"""Seconds to destroy a VM and delete its overlay before that is worth a line; 0.2 s is usual. Where
orphans are reaped every 2 s, anything between is measured."""


def check_name(label: str) -> str:
    """Return what the check is called."""
    return f"VM of {label}"


async def slots(tested: HostUnderTest) -> list[Finding]:
    """Say how many slots are free, and who has the others."""
    free, all_slots = len(tested.free_slots()), tested.config.slots
    if all_slots == 0:
        advice = "Set the host's slots, if it is to run VMs again."
        return [warning(SLOTS, "drained: slots is 0, so no VM was tried", resolution=advice)]
    squatters = tested.host.squatters
    if free and squatters:
        brief = f"{free} of {all_slots} are free; domains that are not ours keep others"
        return [warning(SLOTS, brief, details="\n".join(squatters), resolution=_SQUATTERS)]
    if free:
        return [fine(SLOTS, f"{free} of {all_slots} are free")]
    holders = await tested.host.connection.call(
        "survey", "say who has its slots", inspection.slot_holders
    )
    return [
        warning(
            SLOTS,
            f"all {all_slots} are taken, so no VM was tried",
            details=holders,
            resolution="Try again when builds have ended, or raise the host's slots.",
        )
    ]


async def check(
    tested: HostUnderTest, label_name: str, label: LabelConfig, slot: int
) -> list[Finding]:
    """Boot a VM of one label in a slot, and destroy it.

    :raises CapacityError: if somebody else has taken the slot in the meantime.
    :raises LatentLibvirtError: if the VM does not come up to where it waits for its identity, or
        something of it stays.
    """
    timeline = Timeline()
    machine = tested.machine(label_name, slot)
    check = check_name(label_name)
    try:
        await _boot(machine, timeline, label.boot_timeout)
        by_channel = await channel.check(machine, timeline, check, label)
        timeline.enter("destroy")
        await machine.destroy()
        timeline.finish()
    finally:
        await tested.host.discard(machine)
    await _nothing_is_left(tested)
    findings = [fine(check, f"boots and waits for an identity ({timeline})"), *by_channel]
    return findings + slowness(check, timeline.phases)


async def _boot(machine: Machine, timeline: Timeline, timeout: float) -> None:
    timeline.enter("prepare")
    await machine.prepare()
    timeline.enter("clone")
    await machine.clone()
    timeline.enter("start")
    await machine.boot()
    timeline.enter("boot")
    await machine.until_waiting(timeout)


async def _nothing_is_left(tested: HostUnderTest) -> None:
    seen = await tested.host.connection.call(
        "survey", "list its domains", sweep.survey, tested.config.storage_pool
    )
    left = seen.left_behind({tested.host.owner.id}, ())
    if left:
        raise HostError("a VM was destroyed and something is left of it", details=str(left))


def slowness(check: str, phases: dict[str, float]) -> list[Finding]:
    """Return what took longer than it should: starting QEMU, or destroying a VM.

    :param phases: seconds.
    """
    start, destroy = phases["start"], phases["destroy"]
    found = []
    if start >= SLOW_START:
        found.append(warning(check, f"slow start: {start:.1f} s", **_SLOW_START))
    if destroy >= SLOW_DESTROY:
        found.append(warning(check, f"slow destroy: {destroy:.1f} s", **_SLOW_DESTROY))
    return found


_SLOW_START = {
    "details": "libvirt took that long to start QEMU. Either the host is overloaded, or libvirt "
    "looks QEMU over at each start, as it does where QEMU's user cannot open a /dev/kvm that is "
    "there.",
    "resolution": "See the lines on KVM and capabilities, and the host's load.",
}
_SLOW_DESTROY = {
    "details": "libvirt waits for QEMU's process to be reaped, and the host's PID 1 (often that of "
    "a container) is slow to do so.",
    "resolution": "Run libvirtd below a process that reaps: systemd or tini as PID 1, or one that "
    "has set PR_SET_CHILD_SUBREAPER (prctl(2)). If the host is merely overloaded: fewer slots.",
}


_SQUATTERS = (
    "Rename those domains (virsh domrename) or remove them: names that begin with latent-libvirt- "
    "are for VMs of pools. Until then those slots are left alone."
)
