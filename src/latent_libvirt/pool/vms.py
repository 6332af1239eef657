# SPDX-License-Identifier: GPL-2.0-only
"""All VMs of a pool, whatever they are for: registered, started, discarded, each once.

A VM is registered before it exists, and its allocation lasts until nothing of it is left. What a VM
is for, and when it has to go, is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from latent_libvirt.deferreds import Outcome
from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.pool.plan import (
    machine_plan,
    plan_of,
)
from latent_libvirt.pool.timeline import Timeline
from latent_libvirt.pool.vm import VM

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.host.domains.domain_xml import VmRecord
    from latent_libvirt.host.domains.machine import Machine
    from latent_libvirt.host.host import Host
    from latent_libvirt.host.names import Owner
    from latent_libvirt.pool.events import VmEvents
    from latent_libvirt.pool.host_backoff import HostBackoff
    from latent_libvirt.pool.hosts import Hosts
    from latent_libvirt.pool.records.history import History
    from latent_libvirt.pool.records.rollout.canaries import Canaries
    from latent_libvirt.pool.room.allocations import Allocation
    from latent_libvirt.pool.room.capacity import Capacity

log = Logger()


class VmRegistry:
    """The VMs.

    :param config: returns the pool's configuration as it is now.
    :param owner: whose VMs they are, on every host.
    :param changed: called when a VM has come up, and when one has gone.
    :param events: who wants to know what becomes of the VMs.
    :param history: remembers them.
    :param canaries: choose the version of each one's image, and learn what becomes of it.
    """

    def __init__(  # noqa: PLR0913 - all that the VMs of a pool have in common
        self,
        capacity: Capacity,
        hosts: Hosts,
        *,
        config: Callable[[], PoolConfig],
        owner: Owner,
        host_backoff: HostBackoff,
        changed: Callable[[], None],
        events: VmEvents,
        history: History,
        canaries: Canaries,
    ) -> None:
        self._capacity = capacity
        self._hosts = hosts
        self._config = config
        self._owner = owner
        self._host_backoff = host_backoff
        self._changed = changed
        self.events = events
        self._history = history
        self._canaries = canaries
        self._vms: dict[VM, None] = {}
        """In the order in which they came: what is done to all of them is done in that order."""

    def __iter__(self) -> Iterator[VM]:
        return iter(self._vms)

    def add(self, allocation: Allocation, *, worker: str = "", only_to_save: bool = False) -> VM:
        """Register a VM in *allocation*; nothing of it exists yet.

        :param worker: whose build it is for; nobody's: it is a spare.
        :param only_to_save: whether it is for no build, but to be saved.
        """
        host = self._hosts[allocation.host]
        plan = machine_plan(
            self._config(),
            allocation,
            worker=worker,
            owner=self._owner,
            now=host.reactor.seconds(),
            only_to_save=only_to_save,
            choice=self._canaries.choose(allocation.label, may_try=not only_to_save),
        )
        self.events.vm_started(allocation)
        return self._register(allocation, host, host.new_machine(plan))

    def adopt(self, allocation: Allocation, record: VmRecord) -> VM:
        """Register a VM that an earlier master has left running in *allocation*."""
        host = self._hosts[allocation.host]
        machine = host.adopt_machine(plan_of(self._config(), allocation, record))
        return self._register(allocation, host, machine)

    def _register(self, allocation: Allocation, host: Host, machine: Machine) -> VM:
        vm = VM(allocation, self._config().labels[allocation.label], host, machine)
        self._vms[vm] = None
        return vm

    def start(self, vm: VM) -> Outcome:
        """Bring *vm* up; it may be asked for more than once."""
        if vm.starting is None:
            vm.starting = Outcome(self._start(vm))
        return vm.starting

    async def _start(self, vm: VM) -> None:
        try:
            await (vm.reattach() if vm.machine.booted else vm.start())
        except LatentLibvirtError as error:
            if vm.ending is None:
                self.note_failure(vm, error)
            raise
        self.events.vm_is_up(vm.allocation, vm.timeline.phases)
        self._canaries.note_start(vm)
        self._host_backoff.note_success(vm.host.name, vm.allocation.label)
        self._capacity.note_started(vm.allocation)
        self._changed()

    def note_failure(self, vm: VM, error: LatentLibvirtError) -> None:
        """Count against its host, or its label, that *vm* did not come up as it should."""
        self._history.note_failure(vm, error)
        if vm.is_ended_by_operator:
            return
        self.events.vm_failed(vm.allocation, error)
        self._canaries.note_start(vm, error)
        self._host_backoff.note_failure(vm.host.name, vm.allocation.label, error)

    def note_unexpected(self, vm: VM, error: LatentLibvirtError) -> None:
        """Note that *vm* failed by a defect of this package, which says nothing of its host."""
        self.events.vm_failed(vm.allocation, error)
        self._history.note_failure(vm, error)

    def discard(self, vm: VM) -> Deferred[None]:
        """Let nothing remain of *vm*, and give its allocation back; fires when that is done."""
        if vm.ending is None:
            vm.ending = Outcome(self._discard(vm))
        return vm.ending.wait()

    async def _discard(self, vm: VM) -> None:
        timeline = Timeline()
        timeline.enter("tear-down")
        try:
            await vm.host.discard(vm.machine)
        finally:
            timeline.finish()
            self.events.vm_ended(vm.allocation, timeline.phases)
            self._history.note_end(vm, timeline.phases["tear-down"])
            self._forget(vm)

    def register_frozen(self, allocation: Allocation, record: VmRecord) -> VM:
        """Register a VM that is frozen, and is to go on in *allocation*."""
        host = self._hosts[allocation.host]
        machine = host.new_machine(plan_of(self._config(), allocation, record))
        return self._register(allocation, host, machine)

    async def freeze(self, vm: VM, space: int) -> None:
        """Freeze *vm*, and give its allocation back.

        :param space: bytes that its memory and its disk may take on its host.
        :raises CannotBeFrozenError: if it runs on as it is.
        :raises LatentLibvirtError: if nobody knows what has become of it but its host.
        """
        timeline = Timeline()
        timeline.enter("freeze")
        await vm.host.freezing.freeze(vm.machine, space)
        timeline.finish()
        if vm.ending is not None:
            return  # it has been left to the next master in the meantime
        vm.ending = Outcome(_nothing())
        self.events.vm_ended(vm.allocation, timeline.phases)
        self._history.note_end(vm, timeline.phases["freeze"])
        self._forget(vm)

    def leave_to_the_host(self, vm: VM) -> None:
        """Forget *vm*: only its host knows what has become of it, and the sweep will ask."""
        if vm.ending is None:
            vm.ending = Outcome(_nothing())
            vm.host.leave_to_the_host(vm.machine)
            self._forget(vm)

    def leave_running(self, vm: VM) -> Deferred[None]:
        """Let *vm* run on without us: the next master adopts it."""
        if vm.ending is None:
            vm.ending = Outcome(self._let_go(vm))
        return vm.ending.wait()

    async def _let_go(self, vm: VM) -> None:
        try:
            await vm.host.leave_running(vm.machine)
        finally:
            self._forget(vm)

    def _forget(self, vm: VM) -> None:
        self._vms.pop(vm, None)
        self._capacity.give_back(vm.allocation)
        self._changed()


async def _nothing() -> None:
    """Do nothing."""
