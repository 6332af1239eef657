# SPDX-License-Identifier: GPL-2.0-only
"""What an operator can do with a running pool; how he asks for it is told in ``control/``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.logger import Logger

from latent_libvirt.capacity import Ledger, Target
from latent_libvirt.config import InvalidConfiguration, PoolConfig
from latent_libvirt.control import status, vms
from latent_libvirt.control.console import Vm
from latent_libvirt.control.messages import HostSweep
from latent_libvirt.control.status import PoolStatus
from latent_libvirt.control.vms import VmNames
from latent_libvirt.fleet import Fleet
from latent_libvirt.holds import Hold, Holds
from latent_libvirt.lease import Job, Lease
from latent_libvirt.leases import Leases
from latent_libvirt.sealer import Sealer
from latent_libvirt.set_aside import SetAside
from latent_libvirt.spares import Spares
from latent_libvirt.stock import Stock
from latent_libvirt.vm import VM
from latent_libvirt.waiting import WaitingRequests

log = Logger()


class Operated(Protocol):
    """A pool."""

    name: str
    config: PoolConfig
    refusal: InvalidConfiguration | None
    master: Any
    ledger: Ledger
    hosts: Fleet
    set_aside: SetAside
    leases: Leases
    stock: Stock
    spares: Spares
    holds: Holds
    sealer: Sealer
    waiting: WaitingRequests
    generation: int
    loaded_at: float

    def hosts_changed(self) -> None:
        """Work out what can be used, and tell those that wait."""

    def unfit(self) -> dict[str, dict[str, str]]:
        """Return, by label and host, why the label gets no VM there although others may."""

    def room_changed(self) -> None:
        """Work out what can be used, and tell those that wait."""


class Operations:
    """What can be done with *pool*."""

    def __init__(self, pool: Any) -> None:
        self._pool: Operated = pool

    @property
    def config(self) -> PoolConfig:
        """What is configured."""
        return self._pool.config

    def status(self) -> PoolStatus:
        """Return what there is at this moment."""
        pool = self._pool
        return PoolStatus(
            master=str(pool.master.name),
            name=pool.name,
            max_vms=pool.config.master.max_vms,
            used=len(pool.ledger.taken),
            refused="" if pool.refusal is None else str(pool.refusal),
            hosts=status.hosts(pool.config, pool.ledger, pool.hosts, pool.set_aside.hosts()),
            labels=status.labels(pool.config, pool.ledger, pool.unfit()),
            leases=status.leases(pool.leases.values()),
            spares=status.spares(pool.spares),
            held=status.held(pool.holds),
            sealing=status.spares(pool.sealer),
            waiting=status.waiting(pool.config, pool.waiting.current),
            explained=status.explained(pool.waiting.explanations),
            generation=pool.generation,
            loaded_at=pool.loaded_at,
        )

    def drain(self, target: Target) -> None:
        """Start nothing new there, until :meth:`undrain` or the end of this process."""
        log.info("pool {pool}: {target} is drained", pool=self._pool.name, target=str(target))
        self._pool.ledger.drained |= {target}
        self._pool.room_changed()

    def undrain(self, target: Target) -> None:
        """Start VMs there again, also if it was set aside or workers rest after failed starts."""
        log.info("pool {pool}: {target} is in use again", pool=self._pool.name, target=str(target))
        self._pool.ledger.drained -= {target}
        if target.kind == "host":
            self._pool.set_aside.forgive(target.name)
        self._pool.hosts_changed()
        for worker in self._workers_of(target):
            worker.resetQuarantine()
            worker.stopQuarantineTimer()

    def _workers_of(self, target: Target) -> Iterator[Any]:
        """Yield the pool's workers whose VMs may be on that host, or of that label."""
        for worker in self._pool.master.workers.workers.values():
            if getattr(worker, "pool_name", None) == self._pool.name and (
                target.kind == "host" or worker.fixed_label in ("", target.name)
            ):
                yield worker

    async def sweep(self, *, dry_run: bool) -> tuple[HostSweep, ...]:
        """Sweep all hosts now; return what of each was freed.

        :param dry_run: free nothing; return what would be.
        """
        return await self._pool.hosts.sweep(dry_run=dry_run)

    def vms(self) -> tuple[Vm, ...]:
        """Return all VMs there are, with the names that an operator may use."""
        pool = self._pool
        jobs = {lease.vm: (lease.worker, lease.job) for lease in pool.leases.values()}
        jobs |= {hold.vm: (hold.worker, hold.job) for hold in pool.holds}
        return tuple(Vm(_names(vm, *jobs.get(vm, ("", None))), vm.machine) for vm in pool.stock)

    def hold(self, name: str, seconds: float) -> VmNames:
        """Hold the VM of that name once its job has ended; return what it is called.

        :raises ControlError: if no job has such a VM.
        """
        found = vms.find(map(_Leased, self._pool.leases.values()), name)
        log.info("VM {vm} is to be held", vm=str(found.names))
        found.lease.hold_for = seconds
        if found.lease.idle is not None:
            found.lease.idle.end().addErrback(lambda failure: log.failure("hold", failure))
        return found.names

    async def release(self, name: str) -> VmNames:
        """End a VM that is held; return what it was called when nothing of it is left.

        :raises ControlError: if no such VM is held.
        """
        found = vms.find(map(_Held, self._pool.holds), name)
        log.info("held VM {vm} is released", vm=str(found.names))
        await self._pool.holds.release(found.hold)
        return found.names


@dataclass(frozen=True)
class _Leased:
    lease: Lease

    @property
    def names(self) -> VmNames:
        return _names(self.lease.vm, self.lease.worker, self.lease.job)


@dataclass(frozen=True)
class _Held:
    hold: Hold

    @property
    def names(self) -> VmNames:
        return _names(self.hold.vm, self.hold.worker, self.hold.job)


def _names(vm: VM, worker: str, job: Job | None) -> VmNames:
    return VmNames(
        domain=vm.machine.name, host=vm.host.name, lease=vm.lease, worker=worker, job=job
    )
