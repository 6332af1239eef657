# SPDX-License-Identifier: GPL-2.0-only
"""VMs that are held after their job, for somebody to look into.

A held VM has no worker any more, keeps its allocation (so it counts within all caps), and goes when
it is released or at its deadline. It outlives its master: the next one goes on holding it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from latent_libvirt.config.units import format_duration
from latent_libvirt.deferreds import in_background
from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.host.states.frozen import moment
from latent_libvirt.pool.holding import asked, builds
from latent_libvirt.pool.plan import size_of

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.host.domains.domain_xml import VmRecord
    from latent_libvirt.pool.room.amounts import Size
    from latent_libvirt.pool.room.capacity import Capacity
    from latent_libvirt.pool.vm import (
        VM,
    )
    from latent_libvirt.pool.vms import VmRegistry
    from latent_libvirt.status.names import BuildRef

log = Logger()

_MINUTE: Final = 60


@dataclass(eq=False)
class Hold:
    """A VM that is held.

    :param until: its deadline.
    :param job: what ran there last, as far as it is known.
    """

    vm: VM
    until: datetime
    job: BuildRef | None
    reactor: Any
    alarm: Any = None

    @property
    def seconds_left(self) -> float:
        """Seconds until it goes on its own."""
        # The alarm knows better than the date when the clock has been set since.
        rings = self.alarm is not None and self.alarm.active()
        until = self.alarm.getTime() if rings else self.until.timestamp()
        return max(0.0, until - float(self.reactor.seconds()))

    @property
    def worker(self) -> str:
        """The worker that the VM was."""
        return self.vm.machine.record.worker


def in_words(until: datetime, now: float) -> str:
    """Return for how long that is, in whole minutes if there are some, and when that ends.

    :param now: in seconds since the epoch.
    """
    left = max(0.0, until.timestamp() - now)
    unit = _MINUTE if left > _MINUTE else 1
    return f"for {format_duration(round(left / unit) * unit)}, until {until:%Y-%m-%d %H:%M:%S} UTC"


class Holds:
    """The VMs that a pool holds.

    :param config: returns the pool's configuration as it is now.
    """

    def __init__(
        self,
        registry: VmRegistry,
        capacity: Capacity,
        *,
        config: Callable[[], PoolConfig],
        reactor: Any,
    ) -> None:
        self._registry = registry
        self._capacity = capacity
        self._config = config
        self._reactor = reactor
        self._holds: dict[VM, Hold] = {}
        self._being_told: set[VM] = set()

    def __iter__(self) -> Iterator[Hold]:
        return iter(tuple(self._holds.values()))

    def count(self, label: str) -> int:
        """Return how many VMs of *label* are held, with those not yet marked on their host."""
        return sum(vm.allocation.label == label for vm in (*self._holds, *self._being_told))

    def take(self, vm: VM, until: datetime, job: BuildRef | None) -> Hold:
        """Hold *vm*, which is marked as held on its host."""
        hold = Hold(vm, until, job, self._reactor)
        self._hold(hold)
        return hold

    def of(self, vm: VM) -> Hold | None:
        """Return the hold of *vm*, or ``None`` if it is not held."""
        return self._holds.get(vm)

    async def keep(self, vm: VM, seconds: float, job: BuildRef | None) -> None:
        """Hold *vm* from now on, for that many seconds.

        :raises LatentLibvirtError: if it cannot be marked on its host; the VM is not held then.
        """
        until = datetime.fromtimestamp(self._reactor.seconds() + seconds, UTC)
        self._being_told.add(vm)
        try:
            text = until.isoformat(timespec="seconds")
            await vm.machine.mark(state="held", until=text, build=builds.written(job))
        finally:
            self._being_told.remove(vm)
        self.take(vm, until, job)
        log.info(
            "VM {vm} of worker {worker} is held until {until}",
            vm=str(vm),
            worker=vm.machine.record.worker,
            until=until,
        )

    async def prolong(self, hold: Hold, seconds: float) -> None:
        """Hold it for that many seconds from now on.

        :raises LatentLibvirtError: if its host cannot record that; its deadline stays then.
        """
        machine, before = hold.vm.machine, hold.vm.machine.record.until
        until = datetime.fromtimestamp(self._reactor.seconds() + seconds, UTC)
        try:
            await machine.mark(until=until.isoformat(timespec="seconds"))
        except LatentLibvirtError:
            machine.record = replace(machine.record, until=before)
            raise
        if self.of(hold.vm) is not hold:
            return  # it has been released while its host was asked
        hold.until = until
        hold.alarm.reset(seconds)
        log.info("held VM {vm} is held until {until} now", vm=str(hold.vm), until=until)

    def adopt(self, host: str, slot: int, record: VmRecord, size: Size | None = None) -> bool:
        """Go on holding what an earlier master held, and return whether it is to be held.

        :param size: that the VM has, if its host has said so. Neither its label nor what builds may
            choose need be what they were.
        """
        is_marked = record.state == "held"
        if record.is_to_be_held:
            until_then = asked.until(record, self._reactor.seconds())
            record = replace(record, state="held", until=until_then or "")
        until = moment(record.until)
        if until.timestamp() <= self._reactor.seconds():
            return False
        allocation = self._capacity.take_slot(
            record.label,
            host,
            slot,
            although_full=True,
            size=size or size_of(self._config(), record),
        )
        if allocation is None:
            return False
        vm = self._registry.adopt(allocation, record)
        hold = self.take(vm, until, builds.read(record.build))
        in_background(self._listen(hold, is_marked=is_marked), f"held VM {vm}")
        return True

    async def _listen(self, hold: Hold, *, is_marked: bool) -> None:
        """Listen to a VM of an earlier master.

        :param is_marked: whether its host has it as held. It may have had a job until its master
            was killed, or may have been about to be frozen.
        """
        machine = hold.vm.machine
        await machine.listen()
        if not is_marked:
            await machine.mark(state="held")

    def _hold(self, hold: Hold) -> None:
        self._holds[hold.vm] = hold
        hold.alarm = self._reactor.callLater(hold.seconds_left, self._time_is_up, hold)
        hold.vm.machine.guest.expect().addErrback(self._has_ended, hold)

    def _time_is_up(self, hold: Hold) -> None:
        log.info("held VM {vm} ends: its time is up", vm=str(hold.vm))
        in_background(self.release(hold), f"held VM {hold.vm}")

    def _has_ended(self, failure: Failure, hold: Hold) -> None:
        if self._holds.get(hold.vm) is hold:
            log.info("held VM {vm}: {why}", vm=str(hold.vm), why=failure.getErrorMessage())
            self._time_is_up(hold)

    def release(self, hold: Hold) -> Deferred[None]:
        """Hold it no longer; fires when nothing of the VM is left."""
        self.forget(hold)
        return self._registry.discard(hold.vm)

    def forget(self, hold: Hold) -> None:
        """Hold it no longer, and leave it as it is."""
        self._holds.pop(hold.vm, None)
        if hold.alarm.active():
            hold.alarm.cancel()

    async def leave_running(self) -> None:
        """Leave all of them to the next master."""
        holds = list(self)
        for hold in holds:
            self.forget(hold)
        await gatherResults(
            [self._registry.leave_running(hold.vm) for hold in holds], consumeErrors=True
        )

    async def end(self) -> None:
        """Release all of them."""
        await gatherResults([self.release(hold) for hold in self], consumeErrors=True)
