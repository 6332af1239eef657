# SPDX-License-Identifier: GPL-2.0-only
"""VMs of a pool as an operator knows them: with names, by what they do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from latent_libvirt.control import vms
from latent_libvirt.control.vms import Other
from latent_libvirt.status.names import VmNames

if TYPE_CHECKING:
    from latent_libvirt.pool.holding.frozen import Frozen
    from latent_libvirt.pool.holding.holds import Hold
    from latent_libvirt.pool.lease import Lease
    from latent_libvirt.pool.vm import VM
    from latent_libvirt.pool.vm_pool import VmPool
    from latent_libvirt.status.names import BuildRef


@dataclass(frozen=True)
class RegisteredVm:
    """A VM that there is, whatever it does."""

    vm: VM
    names: VmNames


@dataclass(frozen=True)
class LeasedVm:
    """A VM with a job."""

    lease: Lease

    @property
    def names(self) -> VmNames:
        """Its names."""
        return _names(self.lease.vm, self.lease.worker, self.lease.job)


@dataclass(frozen=True)
class HeldVm:
    """A VM that is held after its job."""

    hold: Hold

    @property
    def names(self) -> VmNames:
        """Its names."""
        return _names(self.hold.vm, self.hold.worker, self.hold.job)


@dataclass(frozen=True)
class FrozenVm:
    """A VM that is saved, and can be continued."""

    frozen: Frozen

    @property
    def names(self) -> VmNames:
        """Its names."""
        vm, host = self.frozen.vm, self.frozen.host.name
        return VmNames(vm.domain, host, vm.vm_id, vm.record.worker, self.frozen.job)


class KnownVms:
    """The VMs of *pool*."""

    def __init__(self, pool: VmPool) -> None:
        self._pool = pool

    def registered(self) -> Iterator[RegisteredVm]:
        """Yield all that run, or are about to."""
        pool = self._pool
        jobs = {lease.vm: (lease.worker, lease.job) for lease in pool.leases.values()}
        jobs |= {hold.vm: (hold.worker, hold.job) for hold in pool.holds}
        for vm in pool.registry:
            yield RegisteredVm(vm, _names(vm, *jobs.get(vm, ("", None))))

    def leased(self) -> Iterator[LeasedVm]:
        """Yield those with a job."""
        return map(LeasedVm, self._pool.leases.values())

    def held(self) -> Iterator[HeldVm]:
        """Yield those that are held."""
        return map(HeldVm, self._pool.holds)

    def frozen(self) -> Iterator[FrozenVm]:
        """Yield those that are frozen, and can be had."""
        return map(FrozenVm, self._pool.frozen)

    def others(self) -> Iterator[Other]:
        """Yield all VMs there are, for commands that are for some of them.

        A name that stands for several is refused: the operator may mean any of them.
        """
        yield from self._building()
        yield from self._held()
        yield from self._frozen()
        yield from self.out_of_reach()
        yield from self._without_a_job()

    def find_frozen(self, name: str, *, advice: str = "") -> FrozenVm:
        """Return the frozen VM of that name.

        :param advice: what else to do about one that cannot be reached.
        :raises ControlError: if there is no such VM, or it cannot be had.
        """
        out_of_reach = (
            replace(each, remedy=f"{each.remedy} {advice}".strip()) for each in self.out_of_reach()
        )
        others = (*out_of_reach, *self.others())
        return vms.find(self.frozen(), name, others)

    def _frozen(self) -> list[Other]:
        remedy = "'latent-libvirt thaw' continues it, and 'latent-libvirt release' deletes it."
        return [Other(each.names, "is frozen", remedy) for each in self.frozen()]

    def _held(self) -> list[Other]:
        remedy = (
            "'latent-libvirt shell' and 'latent-libvirt console' open it. 'latent-libvirt release' "
            "deletes it."
        )
        return [Other(each.names, "is held, and runs", remedy) for each in self.held()]

    def _building(self) -> Iterator[Other]:
        for each in self.leased():
            if each.lease.hold_for is None:
                state, hold = "runs for a job", "'latent-libvirt hold' keeps it after its job"
            else:
                state = "runs for a job, and will be held after it"
                hold = "'latent-libvirt hold NAME --cancel' takes the hold back"
            yield Other(each.names, state, f"{hold}, and 'latent-libvirt end' ends it.")

    def out_of_reach(self) -> Iterator[Other]:
        """Yield the frozen VMs that status shows, and that cannot be had."""
        for each in self._pool.frozen_notes.out_of_reach():
            note = each.note
            names = VmNames(note.domain, note.host, note.vm_id, note.worker, note.job)
            yield Other(names, "cannot be reached", each.remedy, each.why)

    def _without_a_job(self) -> Iterator[Other]:
        for each in self.registered():
            yield Other(each.names, "has no job", "'latent-libvirt end' ends it.")


def _names(vm: VM, worker: str, job: BuildRef | None) -> VmNames:
    return VmNames(
        domain=vm.machine.name, host=vm.host.name, vm_id=vm.vm_id, worker=worker, job=job
    )
