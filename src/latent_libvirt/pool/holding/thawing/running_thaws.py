# SPDX-License-Identifier: GPL-2.0-only
"""Thaws under way: a VM is restored in its slot, and held there.

How a VM gets to another host is in ``host/states/moving``.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from latent_libvirt.errors import CapacityError

if TYPE_CHECKING:
    from latent_libvirt.host.domains.domain_xml import VmRecord
    from latent_libvirt.host.states.moving.move import Move
    from latent_libvirt.pool.holding.frozen import Frozen
    from latent_libvirt.pool.holding.holds import Hold, Holds
    from latent_libvirt.pool.holding.thawing.thaw import Thaw
    from latent_libvirt.pool.room.allocations import Allocation
    from latent_libvirt.pool.vm import VM
    from latent_libvirt.pool.vms import VmRegistry

log = Logger()


@dataclass(frozen=True, eq=False)
class _RunningThaw:
    """A thaw that is under way.

    :param move: ``None`` on the VM's own host.
    """

    vm: VM
    move: Move | None

    async def stop_copying(self) -> None:
        """Copy the VM no more, if it is copied."""
        if self.move is not None:
            await self.move.give_up()


class RunningThaws:
    """The thaws of a pool that have their slots.

    :param thawed: called with the id of each VM that is frozen no more, since it goes on.
    """

    def __init__(
        self, registry: VmRegistry, holds: Holds, *, thawed: Callable[[str], None], reactor: Any
    ) -> None:
        self._registry = registry
        self._holds = holds
        self._thawed = thawed
        self._reactor = reactor
        self._thaws: dict[str, _RunningThaw] = {}

    def vm_ids(self) -> AbstractSet[str]:
        """Return the ids of the VMs that are being thawed."""
        return self._thaws.keys()

    def target(self, frozen: Frozen) -> str | None:
        """Return the name of the host on which it is being thawed, or ``None`` if it is not."""
        thaw = self._thaws.get(frozen.vm.vm_id)
        return None if thaw is None else thaw.vm.host.name

    async def run(self, thaw: Thaw, allocation: Allocation) -> Hold:
        """Thaw the VM in its slot, which is *allocation*, and hold it.

        :raises LatentLibvirtError: if it cannot be thawed, or is given up by then.
        """
        until = self._until(thaw)
        vm = self._registry.register_frozen(allocation, _record(thaw, until))
        await self._thaw_as(vm, thaw)
        if vm.ending is not None:
            raise CapacityError(f"VM {vm} was given up while it was thawed")
        log.info("VM {vm} is thawed, and held until {until}", vm=str(vm), until=until)
        return self._holds.take(vm, until, thaw.frozen.job)

    def _until(self, thaw: Thaw) -> datetime:
        if thaw.seconds is None:
            return thaw.frozen.vm.until
        return datetime.fromtimestamp(self._reactor.seconds() + thaw.seconds, UTC)

    async def _thaw_as(self, vm: VM, thaw: Thaw) -> None:
        source, frozen = thaw.frozen.host, thaw.frozen.vm
        move = vm.host.freezing.move_of(frozen, source) if thaw.is_move else None
        self._thaws[vm.vm_id] = _RunningThaw(vm, move)
        try:
            if move is None:
                await source.freezing.thaw(vm.machine, frozen)
            else:
                await move.run(vm.machine)
        except BaseException:
            self._registry.leave_to_the_host(vm)
            raise
        finally:
            del self._thaws[vm.vm_id]
        self._thawed(vm.vm_id)

    async def discard(self, frozen: Frozen) -> None:
        """End the VM, if it is being thawed, so that nothing of it runs.

        :raises LatentLibvirtError: if that cannot be done now; the sweep will do it.
        """
        thaw = self._thaws.get(frozen.vm.vm_id)
        if thaw is not None:
            await thaw.stop_copying()
            await self._registry.discard(thaw.vm)

    async def stop(self, *, keep: bool) -> None:
        """Copy no VM any more, and hold none.

        :param keep: leave what is being thawed to the next master.
        """
        end = self._registry.leave_running if keep else self._registry.discard
        thaws = tuple(self._thaws.values())
        await gatherResults(
            [Deferred.fromCoroutine(each.stop_copying()) for each in thaws], consumeErrors=True
        )
        await gatherResults([end(each.vm) for each in thaws], consumeErrors=True)


def _record(thaw: Thaw, until: datetime) -> VmRecord:
    """Return what the domain of the VM says from now on."""
    text = until.isoformat(timespec="seconds")
    record = replace(thaw.frozen.vm.record, state="held", until=text, moved_to="")
    # What was saved on one host is on no other.
    return replace(record, saved="") if thaw.is_move else record
