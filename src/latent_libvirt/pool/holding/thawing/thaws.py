# SPDX-License-Identifier: GPL-2.0-only
"""Thaws of a pool: a frozen VM goes on in its slot, at once or as soon as the slot is free.

While a VM waits for its slot, nothing else gets it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from latent_libvirt.deferreds import in_background
from latent_libvirt.errors import CapacityError, LatentLibvirtError
from latent_libvirt.pool.holding.thawing.thaw import Thaw
from latent_libvirt.pool.holding.thawing.thaw_queue import ThawQueue

if TYPE_CHECKING:
    from latent_libvirt.host.host import Host
    from latent_libvirt.pool.allocator import Evictable
    from latent_libvirt.pool.holding.frozen import AllFrozen, Frozen
    from latent_libvirt.pool.holding.holds import Hold
    from latent_libvirt.pool.holding.thawing.conditions import Conditions
    from latent_libvirt.pool.holding.thawing.running_thaws import RunningThaws
    from latent_libvirt.pool.holding.thawing.thaw_queue import QueuedThaw

log = Logger()


class Thaws:
    """Thaws the VMs of a pool.

    :param evictable: returns the VMs that may go if another needs their room.
    :param changed: called when other slots are reserved than before.
    """

    def __init__(
        self,
        frozen: AllFrozen,
        running: RunningThaws,
        conditions: Conditions,
        *,
        evictable: Callable[[], Iterable[Evictable]],
        changed: Callable[[], None],
    ) -> None:
        self._running = running
        self._conditions = conditions
        self._queue = ThawQueue(frozen, conditions)
        self._evictable = evictable
        self._changed = changed
        self._is_stopped = False

    # What is asked of one VM.

    def is_waiting(self, frozen: Frozen) -> bool:
        """Whether it is to be thawed as soon as its slot is free."""
        return self._queue.get(frozen) is not None

    def waits_for(self, frozen: Frozen) -> str:
        """Return, as a sentence without its full stop, what its thaw waits for; empty if none."""
        return self._queue.waits_for(frozen)

    def would_wait_for(self, frozen: Frozen) -> str:
        """Return what a thaw on its own host would wait for, as :meth:`waits_for` does.

        Empty if it would not wait, or would be refused.
        """
        thaw = Thaw(frozen, frozen.host, None)
        if self._conditions.lack(frozen.vm, frozen.host.name) or self._conditions.has_room(thaw):
            return ""
        return self._conditions.why_no_room(thaw)

    def hosts_for(self, frozen: Frozen) -> tuple[str, ...]:
        """Return the hosts on which the configuration lets it be thawed, its own first.

        Other hosts have to be usable, since memory and disk are copied there.
        """
        return self._conditions.hosts_for(frozen)

    def target(self, frozen: Frozen) -> str:
        """Return the name of the other host that it waits for or goes to, empty for none."""
        queued = self._queue.get(frozen)
        name = self._running.target(frozen) or (queued.target if queued else "")
        return "" if name == frozen.host.name else name

    def given_up(self, frozen: Frozen) -> str:
        """Return why it waits for its slot no more, and what to do, empty if nothing is known."""
        return self._queue.given_up(frozen)

    def reserved(self) -> dict[str, frozenset[int]]:
        """Return the slots, by host, that wait for VMs that can be thawed."""
        return self._queue.reserved()

    # What is done.

    async def thaw(
        self, frozen: Frozen, seconds: float | None = None, *, host: Host | None = None
    ) -> Hold | None:
        """Thaw a VM and hold it. Return ``None`` if it waits for its slot, and is thawed then.

        :param seconds: for how long it is to be held, or with ``None`` until its deadline.
        :param host: where it is to go on, or with ``None`` on its own host.
        :raises LatentLibvirtError: if it cannot be thawed; it stays frozen.
        """
        thaw = Thaw(frozen, host or frozen.host, seconds)
        self._check(thaw)
        self._queue.forget_given_up(frozen)
        allocation = self._conditions.take_room(thaw)
        if allocation is None:
            self._wait(thaw)
            return None
        before = self._queue.remove(frozen)
        if before is not None:
            self._changed()
        try:
            return await self._running.run(thaw, allocation)
        except LatentLibvirtError:
            self._wait_again(thaw, before)
            raise

    def _check(self, thaw: Thaw) -> None:
        if self._is_stopped:
            raise CapacityError(f"VM {thaw} cannot be thawed: its master is being stopped")
        refusal = self._conditions.refusal(thaw)
        if refusal is not None:
            raise refusal

    def _wait(self, thaw: Thaw) -> None:
        self._queue.add(thaw)
        why = self.waits_for(thaw.frozen)
        log.info("VM {vm} is to be thawed, and waits: {why}", vm=str(thaw), why=why)
        self._changed()
        self._evict_from(thaw.host.name, thaw.frozen.vm.slot)

    def _evict_from(self, host: str, slot: int) -> None:
        for victim in tuple(self._evictable()):
            if (victim.allocation.host, victim.allocation.slot) == (host, slot):
                log.info("{what} ends: a VM is thawed in its slot", what=victim.what)
                in_background(victim.evict(), victim.what)

    def _wait_again(self, thaw: Thaw, before: QueuedThaw | None) -> None:
        """Go on waiting for another host after a thaw on this one has failed."""
        stays = thaw.frozen.vm.vm_id in thaw.frozen.host.frozen.vm_ids and not self._is_stopped
        if stays and before is not None and before.target != thaw.host.name:
            self._queue.put_back(thaw.frozen, before)
            self._changed()

    def go_on(self) -> bool:
        """Thaw those that wait and have room now; called before anybody else looks for room.

        :return: whether fewer slots are reserved than before.
        """
        before = len(self._queue)
        self._queue.tidy()
        for thaw in self._queue.possible():
            # A thaw that fails at once gives its room back, which has the others looked at.
            is_waiting = self.is_waiting(thaw.frozen)
            allocation = self._conditions.take_room(thaw) if is_waiting else None
            if allocation is not None:
                self._queue.remove(thaw.frozen)
                thawed = Deferred.fromCoroutine(self._running.run(thaw, allocation))
                thawed.addErrback(_stays_frozen, thaw.frozen)
                in_background(thawed, str(thaw))
        return len(self._queue) < before

    def cancel(self, frozen: Frozen) -> bool:
        """Let it stay frozen if it waits; return whether it did."""
        if self._queue.remove(frozen) is None:
            return False
        log.info("VM {vm} stays frozen: its thaw is cancelled", vm=str(frozen))
        self._changed()
        return True

    async def release(self, frozen: Frozen) -> None:
        """Delete a frozen VM.

        :raises LatentLibvirtError: if that cannot be done now; the sweep will do it.
        """
        self._queue.remove(frozen)
        await self._running.discard(frozen)  # first its domain, which may have the disk by now
        await frozen.host.freezing.delete(frozen.vm)
        self._changed()

    async def stop(self, *, keep: bool) -> None:
        """Thaw nothing any more.

        :param keep: leave what is being thawed to the next master.
        """
        self._is_stopped = True
        self._queue.clear()
        await self._running.stop(keep=keep)


def _stays_frozen(failure: Any, frozen: Frozen) -> None:
    failure.trap(LatentLibvirtError)
    log.warn("VM {vm} stays frozen: {error}", vm=str(frozen), error=str(failure.value))
