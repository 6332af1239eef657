# SPDX-License-Identifier: GPL-2.0-only
"""A VM of the pool: a machine, with the allocation that was taken for it.

Its start, step by step, until it waits for an identity; that is the same for a VM that a job waits
for and for a spare. Who it is for is in ``lease.py``, ``spares.py`` and ``holds.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from latent_libvirt.host.states.frozen import moment
from latent_libvirt.pool.timeline import Timeline

if TYPE_CHECKING:
    from latent_libvirt.config.sections.label import LabelConfig
    from latent_libvirt.deferreds import Outcome
    from latent_libvirt.host.domains.machine import Machine
    from latent_libvirt.host.host import Host
    from latent_libvirt.host.proxy.record import Record
    from latent_libvirt.pool.lease import Lease
    from latent_libvirt.pool.room.allocations import Allocation

Way = Literal["cold", "resume", "spare"]
"""How a job comes by its VM: it is booted for the job, or resumed, or has been waiting."""


@dataclass(eq=False)
class VM:
    """One VM, from before anything of it exists until nothing of it is left.

    :param label: as it was configured when the VM was registered.
    :param timeline: of its start: ``prepare``, ``clone`` and ``boot``.
    :param starting: its start, once that has begun.
    :param ending: its tear-down, once that has begun.
    :param lease: the one that it serves, or has served.
    :param fetched: what its builds fetch through their master, or ``None`` if they cannot.
    :param is_ended_by_operator: whether an operator has ended it, which is nobody's fault.
    """

    allocation: Allocation
    label: LabelConfig
    host: Host
    machine: Machine
    timeline: Timeline = field(default_factory=Timeline)
    starting: Outcome | None = None
    ending: Outcome | None = None
    lease: Lease | None = None
    fetched: Record | None = None
    is_ended_by_operator: bool = False

    def __str__(self) -> str:
        return f"{self.machine.name} on host {self.host.name}"

    @property
    def vm_id(self) -> str:
        """An id that no other VM ever had."""
        return self.machine.record.vm_id

    @property
    def age(self) -> float:
        """Seconds since it was registered, by whichever master."""
        since = moment(self.machine.record.since)
        return float(self.machine.host.reactor.seconds() - since.timestamp())

    @property
    def is_waiting(self) -> bool:
        """Whether it is up and waits for an identity, as far as is known."""
        return self.starting is not None and self.starting.over and self.ending is None

    @property
    def was_resumed(self) -> bool:
        """Whether it came up without being booted."""
        phases = self.timeline.phases
        return "resume" in phases and "boot" not in phases

    async def start(self) -> None:
        """Bring it up, and return when its guest waits for an identity, or has been saved.

        :raises LatentLibvirtError: if that failed.
        """
        timeline, machine = self.timeline, self.machine
        timeline.enter("prepare")
        await machine.prepare()
        in_vain = machine.plan.start == "save" and not machine.is_to_be_saved
        if not in_vain and not await self._is_resumed():
            await self._boot()
            await self._save()
        timeline.finish()

    async def _is_resumed(self) -> bool:
        if self.machine.saved is None:
            return False
        self.timeline.enter("resume")
        return await self.machine.resume(self.label.boot_timeout)

    async def _boot(self) -> None:
        timeline, machine = self.timeline, self.machine
        timeline.enter("clone")
        await machine.clone()
        timeline.enter("boot")
        await machine.boot()
        await machine.until_waiting(self.label.boot_timeout)

    async def _save(self) -> None:
        """Save it on its way, if it is to be; it goes on from there."""
        machine = self.machine
        if not machine.is_to_be_saved:
            return
        self.timeline.enter("save")
        await machine.save()
        if machine.saved is not None and not await self._is_resumed():
            await self._boot()

    async def reattach(self) -> None:
        """Find out whether the VM of an earlier master still waits, or will.

        :raises LatentLibvirtError: if it does not.
        """
        await self.machine.listen()
        await self.machine.until_waiting(self.label.boot_timeout)
