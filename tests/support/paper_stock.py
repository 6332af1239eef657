# SPDX-License-Identifier: GPL-2.0-only
"""A stock whose VMs exist on paper only, for tests of the rules by which VMs are kept.

That a VM boots, dies or is destroyed at a chosen moment cannot be had from real ones; the steps of
real VMs are tested in tests/integration.
"""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from latent_libvirt.config import PoolConfig
from latent_libvirt.deferreds import Outcome
from latent_libvirt.errors import GuestError
from latent_libvirt.host.domains.domain_xml import VmRecord
from latent_libvirt.host.names import Owner
from latent_libvirt.pool.capacity import (
    Allocation,
    Capacity,
)
from latent_libvirt.pool.plan import machine_plan
from latent_libvirt.pool.vm import VM
from latent_libvirt.pool.vms import VmRegistry

OWNER = Owner("master", "pool")


class PaperMachine:
    """A machine of which the test says when it is up, and when it dies."""

    def __init__(self, record: VmRecord, reactor: Clock) -> None:
        self.record = record
        self.name = f"domain-{record.vm_id}"
        self.rehearsals = 0
        self.image_digest = "newest"
        self.booted = False
        self.host = SimpleNamespace(reactor=reactor)
        self.guest = self
        self.up: Deferred[None] = Deferred()
        self.marks: list[dict[str, str]] = []
        self._expected: list[Deferred[Any]] = []

    def expect(self) -> Deferred[Any]:
        deferred: Deferred[Any] = Deferred()
        self._expected.append(deferred)
        return deferred

    async def mark(self, **changes: str) -> None:
        self.marks.append(changes)

    async def listen(self) -> None:
        pass

    async def rehearse(self) -> None:
        self.rehearsals += 1

    def is_up(self) -> None:
        self.booted = True
        self.up.callback(None)

    def dies(self) -> None:
        for deferred in self._expected:
            deferred.errback(GuestError("it is gone"))


class PaperHost:
    """A host that says of an image what the test wants."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.usable = True
        self.is_shared = False
        self.newest = "newest"

    async def image_digest(self, _image: object) -> str:
        return self.newest


class PaperStock:
    """Does to the ledger what the real one does; :attr:`gone` is what has been discarded."""

    def __init__(self, capacity: Capacity, reactor: Clock) -> None:
        self._capacity = capacity
        self._reactor = reactor
        self.hosts = {name: PaperHost(name) for name in capacity.caps.slots}
        self.vms: list[VM] = []
        self.gone: list[VM] = []
        self.left: list[VM] = []

    @property
    def as_stock(self) -> VmRegistry:
        """The same, to those who ask for the real one."""
        return cast("VmRegistry", self)

    def add(
        self, config: PoolConfig, allocation: Allocation, *, owner: Owner, worker: str = ""
    ) -> VM:
        plan = machine_plan(config, allocation, worker=worker, owner=owner)
        since = datetime.fromtimestamp(self._reactor.seconds(), UTC).isoformat()
        record = VmRecord(**{**vars(plan.record), "since": since})
        return self.adopt(config, allocation, record)

    def adopt(self, config: PoolConfig, allocation: Allocation, record: VmRecord) -> VM:
        machine = PaperMachine(record, self._reactor)
        host = self.hosts[allocation.host]
        vm = VM(
            allocation, config.labels[allocation.label], cast("Any", host), cast("Any", machine)
        )
        self.vms.append(vm)
        return vm

    def start(self, vm: VM) -> Outcome:
        if vm.starting is None:
            vm.starting = Outcome(self._start(vm))
        return vm.starting

    async def _start(self, vm: VM) -> None:
        await machine_of(vm).up
        self._capacity.note_started(vm.allocation)

    def discard(self, vm: VM) -> Deferred[None]:
        self.gone.append(vm)
        return self._end(vm)

    def leave_running(self, vm: VM) -> Deferred[None]:
        self.left.append(vm)
        return self._end(vm)

    def _end(self, vm: VM) -> Deferred[None]:
        async def end() -> None:
            self._capacity.give_back(vm.allocation)

        if vm.ending is None:
            vm.ending = Outcome(end())
        return vm.ending.wait()


def machine_of(vm: VM) -> PaperMachine:
    """Return the machine of a VM on paper."""
    return cast("PaperMachine", vm.machine)
