# SPDX-License-Identifier: GPL-2.0-only
"""Operations on a running pool: what an operator may ask for over its control socket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from latent_libvirt.control import vms
from latent_libvirt.control.console import Vm
from latent_libvirt.control.exports import Exports
from latent_libvirt.control.holding import Holding
from latent_libvirt.control.known_vms import KnownVms
from latent_libvirt.control.messages import ControlError
from latent_libvirt.control.pictures import Pictures
from latent_libvirt.pool import report
from latent_libvirt.status.pool import PoolStatus
from latent_libvirt.status.usage import UsageReport

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.control.known_vms import RegisteredVm
    from latent_libvirt.control.messages import UsageRequest
    from latent_libvirt.pool.vm import VM
    from latent_libvirt.pool.vm_pool import VmPool
    from latent_libvirt.status.answers import HostSweep
    from latent_libvirt.status.names import BuildRef, Target, VmNames
    from latent_libvirt.status.past import SlotUse
    from latent_libvirt.status.queue import QueueStatus, WaitingStatus

log = Logger()


@dataclass(frozen=True)
class Facts:
    """Parts of a :class:`~latent_libvirt.status.pool.PoolStatus` that only the master knows."""

    master: str
    refused: str
    generation: int
    loaded_at: float
    waiting: tuple[QueueStatus, ...] | None = None
    explained: tuple[WaitingStatus, ...] = ()
    changed: tuple[str, ...] = ()
    changed_at: float = 0.0


async def nothing_used(_request: UsageRequest) -> UsageReport:
    """Return what builds have used where nobody stores it."""
    return UsageReport((), ())


def _note_nowhere(_facts: dict[str, Any], _outcome: str) -> None:
    """Note nothing."""


class Operations:
    """Operations on *pool*.

    :param facts: returns what only the master knows.
    :param undrained: called with what is in use again.
    :param usage: returns what builds have used.
    :param recorded: called with the recording of a terminal, and the build that its VM was for.
    :param audit: notes what somebody has asked for, and the outcome.
    """

    def __init__(  # noqa: PLR0913 - what only the master can do
        self,
        pool: VmPool,
        *,
        facts: Callable[[], Facts],
        undrained: Callable[[Target], None],
        usage: Callable[[UsageRequest], Awaitable[UsageReport]] = nothing_used,
        recorded: Callable[[BuildRef, bytes], None] = lambda _build, _recording: None,
        audit: Callable[[dict[str, Any], str], None] = _note_nowhere,
    ) -> None:
        self._pool = pool
        self._facts = facts
        self._undrained = undrained
        self.usage = usage
        """Returns what builds have used."""
        self._recorded = recorded
        self._pictures = Pictures()
        self._known = KnownVms(pool)
        self.holding = Holding(pool, self._known)
        """Requests for VMs that are held or frozen."""
        self.exports = Exports(pool, self._known, audit)
        """Exports of frozen VMs."""

    @property
    def config(self) -> PoolConfig:
        """What is configured."""
        return self._pool.config

    def status(self) -> PoolStatus:
        """Return what there is at this moment."""
        pool = self._pool
        return PoolStatus(
            name=pool.name,
            max_vms=pool.config.master.max_vms,
            used=len(pool.capacity.taken),
            hosts=report.hosts(
                pool.config,
                pool.capacity,
                pool.hosts,
                pool.host_backoff.hosts(),
                pool.state_saver.resumable(),
            ),
            labels=report.labels(
                pool.config,
                pool.capacity,
                pool.usable.unfit_or_without_image(),
                image=pool.canaries.status,
            ),
            leases=report.leases(pool.leases.values()),
            spares=report.spares(pool.spares),
            held=report.held(pool.holds),
            frozen=report.frozen(pool.frozen, pool.thaws, pool.frozen_notes, pool.now),
            saving=report.spares(pool.state_saver),
            failures=pool.history.failures,
            **vars(self._facts()),
        )

    def slot_uses(self) -> tuple[SlotUse, ...]:
        """Return what was in each slot in the last hour, and what is."""
        return tuple(self._pool.history.uses(self._pool.registry))

    def drain(self, target: Target) -> None:
        """Start nothing new there, until :meth:`undrain` or the end of this process."""
        log.info("pool {pool}: {target} is drained", pool=self._pool.name, target=str(target))
        self._pool.capacity.drained |= {target}
        self._pool.room_changed()

    def undrain(self, target: Target) -> None:
        """Start VMs there again, also if it or workers are in back-off after failed starts."""
        log.info("pool {pool}: {target} is in use again", pool=self._pool.name, target=str(target))
        self._pool.capacity.drained -= {target}
        if target.kind == "host":
            self._pool.host_backoff.forgive(target.name)
        self._pool.hosts_changed()
        self._undrained(target)

    async def sweep(self, *, dry_run: bool) -> tuple[HostSweep, ...]:
        """Sweep all hosts now; return what of each was freed.

        :param dry_run: free nothing; return what would be.
        """
        return await self._pool.hosts.sweep(dry_run=dry_run)

    async def refresh(self) -> str:
        """Look at all hosts and images now; return in words what was looked at.

        What has been left behind goes, slots that are free again are used, and spares and saved
        states of images that have changed go.
        """
        log.info("pool {pool}: all hosts are looked at", pool=self._pool.name)
        swept = await self.sweep(dry_run=False)
        await self._pool.image_check.run()
        self._pool.hosts_changed()
        hosts = f"{len(swept)} host{'' if len(swept) == 1 else 's'}"
        return "; ".join([hosts, *(each.trouble for each in swept if each.trouble)])

    def vms(self) -> tuple[Vm, ...]:
        """Return all VMs there are, with the names that an operator may use."""
        return tuple(
            Vm(each.names, each.vm.machine, self._recorder(each))
            for each in self._known.registered()
        )

    def vm(self, name: str) -> Vm:
        """Return the VM of that name, which runs.

        :raises ControlError: if there is no such VM, or several, or it does not run.
        """
        return vms.find(self.vms(), name, self._known.others())

    async def picture(self, name: str) -> bytes:
        """Return what the VM of that name shows on its screen, as PNG.

        :raises LatentLibvirtError: if there is no such VM, or it has no screen.
        """
        found = vms.find(self._known.registered(), name, self._known.others())
        if not found.vm.label.graphics:
            raise ControlError(
                f"VM {found.names} has no screen",
                resolution="Set graphics of its label to true in the pool's YAML file.",
            )
        return await self._pictures.of(found.vm)

    def _recorder(self, registered: RegisteredVm) -> Callable[[bytes], None] | None:
        build = registered.names.job
        if build is None or not registered.vm.label.record_terminals:
            return None
        return partial(self._recorded, build)

    async def end(self, name: str) -> VmNames:
        """End a VM, whatever it does; return what it was called when nothing of it is left.

        A build in it has lost its VM then, and gets another one. That does not count against it.

        :raises ControlError: if there is no such VM.
        """
        found = vms.find(self._known.registered(), name, self._known.others())
        log.info("VM {vm} is ended by an operator", vm=str(found.names))
        found.vm.is_ended_by_operator = True
        # Before libvirt says that somebody has destroyed its domain.
        found.vm.machine.guest.ended("an operator has ended it", at_once=True)
        await self._ended(found.vm)
        return found.names

    async def _ended(self, vm: VM) -> None:
        pool = self._pool
        hold = next((hold for hold in pool.holds if hold.vm is vm), None)
        if hold is not None:
            await pool.holds.release(hold)
        elif vm in pool.spares:
            await pool.spares.drop(vm)
        else:
            await pool.registry.discard(vm)
