# SPDX-License-Identifier: GPL-2.0-only
"""Freezer of a pool: held VMs leave their slots, and are held again when they are thawed.

A frozen VM has no allocation. libvirt gives a restored domain no other name than its own, so a VM
is thawed in the slot that it had, or in the slot of that number of another host. If the slot is
busy, the VM waits, and nothing else gets the slot before it. What a host has frozen, the host knows
(``host/states/frozen.py``). How a VM gets to another host is in ``host/states/moving``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, DeferredLock, gatherResults
from twisted.logger import Logger

from latent_libvirt.config.units import format_size
from latent_libvirt.deferreds import in_background
from latent_libvirt.errors import (
    CapacityError,
    ConfigurationError,
    HostError,
    LatentLibvirtError,
)
from latent_libvirt.host.states.frozen_io import CannotBeFrozenError
from latent_libvirt.pool.holding import builds
from latent_libvirt.pool.holding.moved import where_it_may_run
from latent_libvirt.pool.holding.waiting import what_it_waits_for
from latent_libvirt.pool.plan import size_of_frozen
from latent_libvirt.status.names import Target

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.host.host import Host
    from latent_libvirt.host.states.frozen import FrozenVm
    from latent_libvirt.host.states.moving.move import Move
    from latent_libvirt.pool.allocator import Evictable
    from latent_libvirt.pool.holding.holds import Hold, Holds
    from latent_libvirt.pool.room.allocations import Allocation
    from latent_libvirt.pool.room.capacity import Capacity
    from latent_libvirt.pool.vm import VM
    from latent_libvirt.pool.vms import VmRegistry
    from latent_libvirt.status.names import BuildRef

log = Logger()

ONLY_THERE: Final = (
    "No other host can continue the VM without its memory and disk. Only a file that "
    "'latent-libvirt export' has packed before can: latent-libvirt thaw FILE --uri URI."
)
"""What to do with a VM whose host cannot be reached."""


@dataclass(frozen=True)
class Frozen:
    """A frozen VM and where it is."""

    host: Host
    vm: FrozenVm

    @property
    def job(self) -> BuildRef | None:
        """What ran there last, as far as it is known."""
        return builds.read(self.vm.record.build)

    def __str__(self) -> str:
        return f"{self.vm.domain} on host {self.host.name}"


@dataclass(frozen=True)
class _Wish:
    """What is to be thawed as soon as its slot is free.

    :param host: by name: its object is another one when the host has been configured again.
    :param target: the name of the host to thaw it on.
    :param seconds: for how long it is to be held then.
    """

    host: str
    target: str
    seconds: float | None


@dataclass(frozen=True)
class _Thaw:
    """A thaw that is asked for.

    :param host: where the VM goes on.
    :param seconds: for how long it is to be held then, or with ``None`` until its deadline.
    """

    frozen: Frozen
    host: Host
    seconds: float | None

    @property
    def is_move(self) -> bool:
        """Whether the VM goes on on another host."""
        return self.host is not self.frozen.host

    def __str__(self) -> str:
        return f"{self.frozen}, on host {self.host.name}" if self.is_move else str(self.frozen)


@dataclass(frozen=True, eq=False)
class _Thawing:
    """A thaw that is under way.

    :param move: ``None`` on the VM's own host.
    """

    vm: VM
    move: Move | None

    async def stop_copying(self) -> None:
        """Copy the VM no more, if it is copied."""
        if self.move is not None:
            await self.move.give_up()


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
    :param thawed: called with the id of each VM that is frozen no more, since it goes on.
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
        thawed: Callable[[str], None],
        reactor: Any,
    ) -> None:
        self._of = _Parts(registry, capacity, holds, hosts)
        self._config = config
        self._evictable = evictable
        self._changed = changed
        self._thawed = thawed
        self._reactor = reactor
        self._one_at_a_time: dict[str, DeferredLock] = defaultdict(DeferredLock)
        self._freezing: set[Hold] = set()
        self._waiting: dict[str, _Wish] = {}
        self._given_up: dict[str, str] = {}
        self._thawing: dict[str, _Thawing] = {}
        self._is_stopped = False

    def __iter__(self) -> Iterator[Frozen]:
        # What a VM has left on the host that it was frozen on is a VM no more.
        live = self.running()
        for host in self._of.hosts.values():
            yield from (Frozen(host, vm) for vm in host.frozen if vm.vm_id not in live)

    def running(self) -> set[str]:
        """Return the ids of the VMs that are frozen nowhere, whatever a host has of them."""
        return {vm.vm_id for vm in self._of.registry} - self._thawing.keys()

    def given_up(self, frozen: Frozen) -> str:
        """Return why it waits for its slot no more, and what to do, empty if nothing is known."""
        return self._given_up.get(frozen.vm.vm_id, "")

    def may_run(self, frozen: Frozen) -> str:
        """Return why it may run on another host already, and what to do, empty if it does not."""
        there = where_it_may_run(frozen.vm, self._of.hosts.values())
        if there is None:
            return ""
        why, remedy = there
        return f"It cannot be thawed: {why}. {remedy}"

    def is_waiting(self, frozen: Frozen) -> bool:
        """Whether it is to be thawed as soon as its slot is free."""
        return frozen.vm.vm_id in self._waiting

    def waits_for(self, frozen: Frozen) -> str:
        """Return, as a sentence without its full stop, what its thaw waits for; empty if none."""
        wish = self._waiting.get(frozen.vm.vm_id)
        host = None if wish is None else self._of.hosts.get(wish.target)
        return "" if host is None else what_it_waits_for(frozen.vm, host, self._of.capacity)

    def would_wait_for(self, frozen: Frozen) -> str:
        """Return what a thaw on its own host would wait for, as :meth:`waits_for` does.

        Empty if it would not wait, or would be refused.
        """
        thaw = _Thaw(frozen, frozen.host, None)
        if self._lack(frozen.vm, frozen.host.name) or self._has_room(thaw):
            return ""
        return what_it_waits_for(frozen.vm, frozen.host, self._of.capacity)

    def hosts_for(self, frozen: Frozen) -> tuple[str, ...]:
        """Return the hosts on which the configuration lets it be thawed, its own first.

        Other hosts have to be usable, since memory and disk are copied there.
        """
        own, hosts = frozen.host, self._of.hosts.values()
        others = [host.name for host in hosts if host.name != own.name and host.usable]
        names = [own.name, *(others if own.usable else ())]
        return tuple(name for name in names if self._lack(frozen.vm, name) is None)

    def target(self, frozen: Frozen) -> str:
        """Return the name of the other host that it waits for or goes to, empty for none."""
        wish, thawing = self._waiting.get(frozen.vm.vm_id), self._thawing.get(frozen.vm.vm_id)
        name = thawing.vm.host.name if thawing is not None else wish.target if wish else ""
        return "" if name == frozen.host.name else name

    def freezing(self, label: str) -> int:
        """Return how many held VMs of *label* are about to leave their slots."""
        return sum(hold.vm.allocation.label == label for hold in self._freezing)

    def is_freezing(self, hold: Hold) -> bool:
        """Whether a held VM is about to leave its slot."""
        return hold in self._freezing

    def reserved(self) -> dict[str, frozenset[int]]:
        """Return the slots, by host, that wait for VMs that can be thawed."""
        slots: dict[str, set[int]] = defaultdict(set)
        for thaw in self._wished():
            label = Target("label", thaw.frozen.vm.record.label)
            if not self._of.capacity.is_drained(label):
                slots[thaw.host.name].add(thaw.frozen.vm.slot)
        return {host: frozenset(of) for host, of in slots.items()}

    def _wished(self) -> list[_Thaw]:
        """Return what waits, as far as it is there and may be thawed."""
        if not self._waiting:
            return []
        there, hosts = {frozen.vm.vm_id: frozen for frozen in self}, self._of.hosts
        wished = [
            _Thaw(there[vm_id], hosts[wish.target], wish.seconds)
            for vm_id, wish in self._waiting.items()
            if vm_id in there and wish.target in hosts
        ]
        return [thaw for thaw in wished if self._why_not(thaw) is None]

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
            log.info("VM {vm} is frozen until {until}", vm=str(vm), until=hold.until)

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

    async def thaw(
        self, frozen: Frozen, seconds: float | None = None, *, host: Host | None = None
    ) -> Hold | None:
        """Thaw a VM and hold it. Return ``None`` if it waits for its slot, and is thawed then.

        :param seconds: for how long it is to be held, or with ``None`` until its deadline.
        :param host: where it is to go on, or with ``None`` on its own host.
        :raises LatentLibvirtError: if it cannot be thawed; it stays frozen.
        """
        thaw = _Thaw(frozen, host or frozen.host, seconds)
        why_not = self._why_not(thaw)
        if why_not is not None:
            raise why_not
        self._given_up.pop(frozen.vm.vm_id, None)
        allocation = self._room(thaw)
        if allocation is None:
            self._wait(thaw)
            return None
        before = self._waiting.pop(frozen.vm.vm_id, None)
        try:
            return await self._thaw(thaw, allocation)
        except LatentLibvirtError:
            self._wait_again(thaw, before)
            raise

    def _wait_again(self, thaw: _Thaw, wish: _Wish | None) -> None:
        """Go on waiting for another host after a thaw on this one has failed."""
        vm_id = thaw.frozen.vm.vm_id
        stays = vm_id in thaw.frozen.host.frozen.vm_ids and not self._is_stopped
        if stays and wish is not None and wish.target != thaw.host.name:
            self._waiting.setdefault(vm_id, wish)
            self._changed()

    def cancel(self, frozen: Frozen) -> bool:
        """Let it stay frozen if it waits; return whether it did."""
        if self._waiting.pop(frozen.vm.vm_id, None) is None:
            return False
        log.info("VM {vm} stays frozen: its thaw is cancelled", vm=str(frozen))
        self._changed()
        return True

    def _why_not(self, thaw: _Thaw) -> LatentLibvirtError | None:
        """Return why it cannot be thawed, whatever room there is, or ``None`` if it can."""
        if self._is_stopped:
            return CapacityError(f"VM {thaw} cannot be thawed: its master is being stopped")
        if lack := self._lack(thaw.frozen.vm, thaw.host.name):
            why, remedy = lack
            return ConfigurationError(f"VM {thaw} cannot be thawed: {why}", resolution=remedy)
        if there := where_it_may_run(thaw.frozen.vm, self._of.hosts.values()):
            why, remedy = there
            return HostError(f"VM {thaw} cannot be thawed: {why}", resolution=remedy)
        source = thaw.frozen.host
        if thaw.is_move and not source.usable:
            return HostError(
                f"VM {thaw} cannot be thawed: its memory and disk are on host {source.name}, "
                "which is not usable",
                details=source.trouble,
                resolution=f"See to host {source.name}. {ONLY_THERE}",
            )
        if thaw.frozen.vm.vm_id in source.frozen.busy:
            return CapacityError(f"VM {thaw.frozen} is being thawed already")
        return None

    def _lack(self, vm: FrozenVm, host: str) -> tuple[str, str] | None:
        """Return what the configuration lacks for it there, and what to do; ``None`` if nothing."""
        config, label = self._config(), vm.record.label
        if label not in config.labels:
            why = f"label {label!r} is not configured any more"
            return why, "Put the label back into the pool's YAML file."
        if host not in config.hosts:
            why = f"host {host} is not in the pool's YAML file any more"
            return why, "Put the host back there, or thaw the VM on another one."
        if host not in config.hosts_for(label):
            why = f"label {label!r} does not use host {host}"
            return why, "Put the host into the label's hosts."
        if vm.slot > config.hosts[host].slots:
            why = f"host {host} has no slot {vm.slot}, and the VM can have no other"
            return why, "Raise the slots of the host."
        size = size_of_frozen(config, vm)
        if size is not None and not self._of.capacity.caps.may_give(host, size):
            memory = format_size(size.memory)
            why = f"{size.vcpus} vCPUs and {memory} of memory are more than the host may give out"
            return why, "Raise vcpus, memory or their overcommit of the host."
        return None

    def _has_room(self, thaw: _Thaw) -> bool:
        host, vm = thaw.host, thaw.frozen.vm
        size = size_of_frozen(self._config(), vm)
        has_slot = self._of.capacity.has_slot(vm.record.label, host.name, vm.slot, size)
        return host.usable and vm.slot not in host.blocked_slots and has_slot

    def _room(self, thaw: _Thaw) -> Allocation | None:
        host, vm = thaw.host, thaw.frozen.vm
        if not host.usable or vm.slot in host.blocked_slots:
            return None
        size = size_of_frozen(self._config(), vm)
        return self._of.capacity.take_slot(vm.record.label, host.name, vm.slot, size=size)

    def _wait(self, thaw: _Thaw) -> None:
        vm, host = thaw.frozen.vm, thaw.host.name
        self._waiting[vm.vm_id] = _Wish(thaw.frozen.host.name, host, thaw.seconds)
        why = self.waits_for(thaw.frozen)
        log.info("VM {vm} is to be thawed, and waits: {why}", vm=str(thaw), why=why)
        self._changed()
        for victim in tuple(self._evictable()):
            if (victim.allocation.host, victim.allocation.slot) == (host, vm.slot):
                log.info("{what} ends: a VM is thawed in its slot", what=victim.what)
                in_background(victim.evict(), victim.what)

    def go_on(self) -> bool:
        """Thaw those that wait and have room now; called before anybody else looks for room.

        :return: whether fewer slots are reserved than before.
        """
        before = len(self._waiting)
        self._forget_gone()
        self._give_up_what_lacks()
        for thaw in self._wished():
            # A thaw that fails at once gives its room back, which has the others looked at.
            is_waiting = thaw.frozen.vm.vm_id in self._waiting
            allocation = self._room(thaw) if is_waiting else None
            if allocation is not None:
                del self._waiting[thaw.frozen.vm.vm_id]
                thawed = Deferred.fromCoroutine(self._thaw(thaw, allocation))
                thawed.addErrback(self._stays_frozen, thaw.frozen)
                in_background(thawed, str(thaw))
        return len(self._waiting) < before

    def _forget_gone(self) -> None:
        """Wait no longer for what its host has no more; one that is not usable may have it."""
        for vm_id, wish in tuple(self._waiting.items()):
            host = self._of.hosts.get(wish.host)
            if host is not None and host.usable and vm_id not in host.frozen.vm_ids:
                del self._waiting[vm_id]

    def _give_up_what_lacks(self) -> None:
        """Wait no longer for a host that, as it is configured now, cannot have the VM."""
        if not self._waiting:
            return
        there = {frozen.vm.vm_id: frozen for frozen in self}
        self._given_up = {vm_id: why for vm_id, why in self._given_up.items() if vm_id in there}
        for vm_id in self._waiting.keys() & there.keys():
            lack = self._lack(there[vm_id].vm, self._waiting[vm_id].target)
            if lack is not None:
                del self._waiting[vm_id]
                self._give_up(there[vm_id], *lack)

    def _give_up(self, frozen: Frozen, why: str, remedy: str) -> None:
        text = f"Its thaw was given up: {why}. {remedy} Then thaw it again."
        self._given_up[frozen.vm.vm_id] = text
        log.warn("VM {vm} stays frozen. {text}", vm=str(frozen), text=text)

    def _stays_frozen(self, failure: Any, frozen: Frozen) -> None:
        failure.trap(LatentLibvirtError)
        log.warn("VM {vm} stays frozen: {error}", vm=str(frozen), error=str(failure.value))

    async def _thaw(self, thaw: _Thaw, allocation: Allocation) -> Hold:
        until = thaw.frozen.vm.until
        if thaw.seconds is not None:
            until = datetime.fromtimestamp(self._reactor.seconds() + thaw.seconds, UTC)
        text = until.isoformat(timespec="seconds")
        record = replace(thaw.frozen.vm.record, state="held", until=text, moved_to="")
        if thaw.is_move:  # what was saved on one host is on no other
            record = replace(record, saved="")
        vm = self._of.registry.register_frozen(allocation, record)
        await self._thaw_as(vm, thaw)
        if vm.ending is not None:
            raise CapacityError(f"VM {vm} was given up while it was thawed")
        log.info("VM {vm} is thawed, and held until {until}", vm=str(vm), until=until)
        return self._of.holds.take(vm, until, thaw.frozen.job)

    async def _thaw_as(self, vm: VM, thaw: _Thaw) -> None:
        source, frozen = thaw.frozen.host, thaw.frozen.vm
        move = vm.host.freezing.move_of(frozen, source) if thaw.is_move else None
        self._thawing[vm.vm_id] = _Thawing(vm, move)
        try:
            if move is None:
                await source.freezing.thaw(vm.machine, frozen)
            else:
                await move.run(vm.machine)
        except BaseException:
            self._of.registry.leave_to_the_host(vm)
            raise
        finally:
            del self._thawing[vm.vm_id]
        self._thawed(vm.vm_id)

    async def release(self, frozen: Frozen) -> None:
        """Delete a frozen VM.

        :raises LatentLibvirtError: if that cannot be done now; the sweep will do it.
        """
        self._waiting.pop(frozen.vm.vm_id, None)
        thawing = self._thawing.get(frozen.vm.vm_id)
        if thawing is not None:
            await thawing.stop_copying()
            # Its domain first, which may have the disk by now.
            await self._of.registry.discard(thawing.vm)
        await frozen.host.freezing.delete(frozen.vm)
        self._changed()

    async def stop(self, *, keep: bool) -> None:
        """Thaw nothing any more.

        :param keep: leave what is being thawed to the next master.
        """
        self._is_stopped = True
        self._waiting.clear()
        end = self._of.registry.leave_running if keep else self._of.registry.discard
        thawing = tuple(self._thawing.values())
        await gatherResults(
            [Deferred.fromCoroutine(each.stop_copying()) for each in thawing], consumeErrors=True
        )
        await gatherResults([end(each.vm) for each in thawing], consumeErrors=True)

    def end(self) -> None:
        """Let the sweep free all of them."""
        for host in self._of.hosts.values():
            host.frozen.clear()
