# SPDX-License-Identifier: GPL-2.0-only
"""Freezer of a pool: held VMs leave their slots, and are held again when they are thawed.

A frozen VM has no allocation. libvirt gives a restored domain no other name than its own, so a VM
is thawed in the slot that it had. If the slot is busy, the VM waits, and nothing else gets the slot
before it. What a host has frozen, the host knows (``host/states/frozen.py``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, DeferredLock, gatherResults
from twisted.logger import Logger

from latent_libvirt.config.units import format_size
from latent_libvirt.deferreds import in_background
from latent_libvirt.errors import CapacityError, ConfigurationError, LatentLibvirtError
from latent_libvirt.host.states.frozen_io import CannotBeFrozenError
from latent_libvirt.pool.plan import size_of_frozen
from latent_libvirt.status import Target

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.host.host import Host
    from latent_libvirt.host.states.frozen import FrozenVm
    from latent_libvirt.pool.allocator import Evictable
    from latent_libvirt.pool.capacity import Allocation, Capacity
    from latent_libvirt.pool.holding.holds import Hold, Holds
    from latent_libvirt.pool.vm import VM
    from latent_libvirt.pool.vms import VmRegistry
    from latent_libvirt.status import BuildRef

log = Logger()


@dataclass(frozen=True)
class Frozen:
    """A frozen VM and where it is."""

    host: Host
    vm: FrozenVm

    def __str__(self) -> str:
        return f"{self.vm.domain} on host {self.host.name}"


@dataclass(frozen=True)
class _Wish:
    """What is to be thawed as soon as its slot is free.

    :param host: by name: its object is another one when the host has been configured again.
    :param seconds: for how long it is to be held then.
    """

    host: str
    seconds: float | None


@dataclass(frozen=True, eq=False)
class _Parts:
    """What a freezer works with."""

    registry: VmRegistry
    capacity: Capacity
    holds: Holds
    hosts: Mapping[str, Host]


class Freezer:
    """Freezes and thaws the VMs of a pool.

    :param hosts: by name; those that are configured.
    :param config: returns the pool's configuration as it is now.
    :param evictable: returns the VMs that may go if another needs their room.
    :param changed: called when other slots are reserved than before.
    """

    def __init__(  # noqa: PLR0913 - all that a VM goes through
        self,
        registry: VmRegistry,
        capacity: Capacity,
        holds: Holds,
        hosts: Mapping[str, Host],
        *,
        config: Callable[[], PoolConfig],
        evictable: Callable[[], Iterable[Evictable]],
        changed: Callable[[], None],
        reactor: Any,
    ) -> None:
        self._of = _Parts(registry, capacity, holds, hosts)
        self._config = config
        self._evictable = evictable
        self._changed = changed
        self._reactor = reactor
        self._one_at_a_time: dict[str, DeferredLock] = defaultdict(DeferredLock)
        self._freezing: set[Hold] = set()
        self._waiting: dict[str, _Wish] = {}
        self._thawing: dict[str, VM] = {}
        self._jobs: dict[str, BuildRef | None] = {}
        self._is_stopped = False

    def __iter__(self) -> Iterator[Frozen]:
        for host in self._of.hosts.values():
            yield from (Frozen(host, vm) for vm in host.frozen)

    def is_waiting(self, frozen: Frozen) -> bool:
        """Whether it is to be thawed as soon as its slot is free."""
        return frozen.vm.vm_id in self._waiting

    def freezing(self, label: str) -> int:
        """Return how many held VMs of *label* are about to leave their slots."""
        return sum(hold.vm.allocation.label == label for hold in self._freezing)

    def reserved(self) -> dict[str, frozenset[int]]:
        """Return the slots, by host, that wait for VMs that can be thawed."""
        slots: dict[str, set[int]] = defaultdict(set)
        for frozen, _ in self._wished():
            label = Target("label", frozen.vm.record.label)
            if not self._of.capacity.is_drained(label):
                slots[frozen.host.name].add(frozen.vm.slot)
        return {host: frozenset(of) for host, of in slots.items()}

    def _wished(self) -> list[tuple[Frozen, float | None]]:
        """Return what waits, as far as it is there and may be thawed, with the seconds to hold."""
        if not self._waiting:
            return []
        there = {frozen.vm.vm_id: frozen for frozen in self}
        wished = [(there[each], of.seconds) for each, of in self._waiting.items() if each in there]
        return [(frozen, seconds) for frozen, seconds in wished if self._why_not(frozen) is None]

    # Out of a slot.

    async def freeze(self, hold: Hold) -> None:
        """Freeze the VM of *hold*; if that is not possible, it is held in its slot.

        One VM of a host is frozen at a time.
        """
        self._freezing.add(hold)
        try:
            async with self._one_at_a_time[hold.vm.host.name]:
                if hold.vm.ending is None:
                    await self._freeze(hold)
        finally:
            self._freezing.discard(hold)

    async def _freeze(self, hold: Hold) -> None:
        vm, parts = hold.vm, self._of
        try:
            await parts.registry.freeze(vm, self._space(vm.host))
        except CannotBeFrozenError as error:
            log.warn("VM {vm} is not frozen: {error}", vm=str(vm), error=str(error))
            await self._hold_in_slot(hold)
        except LatentLibvirtError as error:
            if vm.ending is None:
                log.warn("VM {vm}: {error}; its host is asked", vm=str(vm), error=str(error))
                parts.holds.forget(hold)
                parts.registry.leave_to_the_host(vm)
        else:
            parts.holds.forget(hold)
            self._remember(hold)
            log.info("VM {vm} is frozen until {until}", vm=str(vm), until=hold.until)

    def _remember(self, hold: Hold) -> None:
        """Remember the job of a VM that is frozen, and none of those that are no more."""
        self._jobs[hold.vm.vm_id] = hold.job
        there = {frozen.vm.vm_id for frozen in self}
        self._jobs = {vm_id: job for vm_id, job in self._jobs.items() if vm_id in there}

    async def _hold_in_slot(self, hold: Hold) -> None:
        """Hold it as if its label did not ask for more, unless its label holds enough."""
        self._freezing.discard(hold)
        label = hold.vm.allocation.label
        held = self._of.holds.count(label) - self.freezing(label)
        if held > hold.vm.label.max_held:
            log.warn("VM {vm} is not held: max_held VMs of its label are", vm=str(hold.vm))
            await self._of.holds.release(hold)

    def _space(self, host: Host) -> int:
        config = self._config().hosts.get(host.name)
        return 0 if config is None else config.frozen_space - host.frozen.size

    # Back into it.

    async def thaw(self, frozen: Frozen, seconds: float | None = None) -> Hold | None:
        """Thaw a VM and hold it; ``None`` if it has to wait for its slot, and is thawed then.

        :param seconds: for how long it is to be held; ``None``: until its deadline.
        :raises LatentLibvirtError: if it cannot be thawed; it stays frozen.
        """
        why_not = self._why_not(frozen)
        if why_not is not None:
            raise why_not
        allocation = self._room(frozen)
        if allocation is None:
            self._wait(frozen, seconds)
            return None
        self._waiting.pop(frozen.vm.vm_id, None)
        return await self._thaw(frozen, allocation, seconds)

    def _why_not(self, frozen: Frozen) -> LatentLibvirtError | None:
        """Return why it cannot be thawed, whatever room there is; ``None`` if it can."""
        if self._is_stopped:
            return CapacityError(f"VM {frozen} cannot be thawed: its master is being stopped")
        if lack := self._lack(frozen):
            why, remedy = lack
            return ConfigurationError(f"VM {frozen} cannot be thawed: {why}", resolution=remedy)
        if frozen.vm.vm_id in frozen.host.frozen.busy:
            return CapacityError(f"VM {frozen} is being thawed already")
        return None

    def _lack(self, frozen: Frozen) -> tuple[str, str] | None:
        """Return what the configuration lacks for it, and what to do; ``None`` for nothing."""
        config, label, host = self._config(), frozen.vm.record.label, frozen.host.name
        if label not in config.labels or host not in config.hosts:
            why = f"label {label!r} is not configured any more"
            return why, "Put the label back into the pool's YAML file."
        if host not in config.hosts_for(label):
            why = f"label {label!r} does not use the host any more"
            return why, "Put the host back into the label's hosts."
        if frozen.vm.slot > config.hosts[host].slots:
            why = f"the host has no slot {frozen.vm.slot} any more"
            return why, "Raise the slots of the host."
        size = size_of_frozen(config, frozen.vm)
        if size is not None and not self._of.capacity.may_give(host, size):
            memory = format_size(size.memory)
            why = f"{size.vcpus} vCPUs and {memory} of memory are more than the host may give out"
            return why, "Raise vcpus, memory or their overcommit of the host."
        return None

    def _room(self, frozen: Frozen) -> Allocation | None:
        host, slot = frozen.host, frozen.vm.slot
        if not host.usable or slot in host.blocked_slots:
            return None
        record = frozen.vm.record
        size = size_of_frozen(self._config(), frozen.vm)
        return self._of.capacity.take_slot(record.label, host.name, slot, size=size)

    def _wait(self, frozen: Frozen, seconds: float | None) -> None:
        log.info("VM {vm} is thawed as soon as its slot is free", vm=str(frozen))
        self._waiting[frozen.vm.vm_id] = _Wish(frozen.host.name, seconds)
        self._changed()
        for victim in tuple(self._evictable()):
            where = victim.allocation
            if (where.host, where.slot) == (frozen.host.name, frozen.vm.slot):
                log.info("{what} ends: a VM is thawed in its slot", what=victim.what)
                in_background(victim.evict(), victim.what)

    def go_on(self) -> bool:
        """Thaw those that wait and have room now; called before anybody else looks for room.

        :return: whether fewer slots are reserved than before.
        """
        before = len(self._waiting)
        self._forget_gone()
        for frozen, seconds in self._wished():
            # A thaw that fails at once gives its room back, which has the others looked at.
            is_waiting = frozen.vm.vm_id in self._waiting
            allocation = self._room(frozen) if is_waiting else None
            if allocation is not None:
                del self._waiting[frozen.vm.vm_id]
                thawed = Deferred.fromCoroutine(self._thaw(frozen, allocation, seconds))
                thawed.addErrback(self._stays_frozen, frozen)
                in_background(thawed, str(frozen))
        return len(self._waiting) < before

    def _forget_gone(self) -> None:
        """Wait no longer for what its host has no more; one that is not usable may have it."""
        for vm_id, wish in tuple(self._waiting.items()):
            host = self._of.hosts.get(wish.host)
            if host is not None and host.usable and vm_id not in host.frozen.vm_ids:
                del self._waiting[vm_id]

    def _stays_frozen(self, failure: Any, frozen: Frozen) -> None:
        failure.trap(LatentLibvirtError)
        log.warn("VM {vm} stays frozen: {error}", vm=str(frozen), error=str(failure.value))

    async def _thaw(self, frozen: Frozen, allocation: Allocation, seconds: float | None) -> Hold:
        until = frozen.vm.until
        if seconds is not None:
            until = datetime.fromtimestamp(self._reactor.seconds() + seconds, UTC)
        text = until.isoformat(timespec="seconds")
        record = replace(frozen.vm.record, state="held", until=text)
        vm = self._of.registry.register_frozen(allocation, record)
        self._thawing[vm.vm_id] = vm
        try:
            await frozen.host.thaw(vm.machine, frozen.vm)
        except BaseException:
            self._of.registry.leave_to_the_host(vm)
            raise
        finally:
            del self._thawing[vm.vm_id]
        if vm.ending is not None:
            raise CapacityError(f"VM {vm} was given up while it was thawed")
        log.info("VM {vm} is thawed, and held until {until}", vm=str(vm), until=until)
        return self._of.holds.take(vm, until, self._jobs.pop(vm.vm_id, None))

    async def release(self, frozen: Frozen) -> None:
        """Delete a frozen VM.

        :raises LatentLibvirtError: if that cannot be done now; the sweep will do it.
        """
        self._waiting.pop(frozen.vm.vm_id, None)
        vm = self._thawing.get(frozen.vm.vm_id)
        if vm is not None:
            await self._of.registry.discard(vm)  # its domain first, which may have the disk by now
        await frozen.host.delete_frozen(frozen.vm)
        self._changed()

    async def stop(self, *, keep: bool) -> None:
        """Thaw nothing any more.

        :param keep: leave what is being thawed to the next master.
        """
        self._is_stopped = True
        self._waiting.clear()
        end = self._of.registry.leave_running if keep else self._of.registry.discard
        await gatherResults([end(vm) for vm in tuple(self._thawing.values())], consumeErrors=True)

    def end(self) -> None:
        """Let the sweep free all of them."""
        for host in self._of.hosts.values():
            host.frozen.clear()
