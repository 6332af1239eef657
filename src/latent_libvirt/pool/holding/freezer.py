# SPDX-License-Identifier: GPL-2.0-only
"""Freezer of a pool: held VMs leave their slots, one of a host at a time.

What becomes of a frozen VM is in ``frozen.py`` and ``thawing/``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.host.states.frozen_io import CannotBeFrozenError

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.host.host import Host
    from latent_libvirt.pool.holding.holds import Hold, Holds
    from latent_libvirt.pool.vms import VmRegistry

log = Logger()


class Freezer:
    """Freezes held VMs.

    :param config: returns the pool's configuration as it is now.
    """

    def __init__(
        self, registry: VmRegistry, holds: Holds, *, config: Callable[[], PoolConfig]
    ) -> None:
        self._registry = registry
        self._holds = holds
        self._config = config
        self._one_at_a_time: dict[str, DeferredLock] = defaultdict(DeferredLock)
        self._freezing: set[Hold] = set()

    def held_in_slots(self, label: str) -> int:
        """Return how many VMs of *label* are held, without those about to leave their slots."""
        leaving = sum(hold.vm.allocation.label == label for hold in self._freezing)
        return self._holds.count(label) - leaving

    def is_freezing(self, hold: Hold) -> bool:
        """Whether a held VM is about to leave its slot."""
        return hold in self._freezing

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
        vm = hold.vm
        try:
            await self._registry.freeze(vm, self._space(vm.host))
        except CannotBeFrozenError as error:
            log.warn("VM {vm} is not frozen: {error}", vm=str(vm), error=str(error))
            await self._hold_in_slot(hold)
        except LatentLibvirtError as error:
            if vm.ending is None:
                log.warn("VM {vm}: {error}; its host is asked", vm=str(vm), error=str(error))
                self._holds.forget(hold)
                self._registry.leave_to_the_host(vm)
        else:
            self._holds.forget(hold)
            log.info("VM {vm} is frozen until {until}", vm=str(vm), until=hold.until)

    async def _hold_in_slot(self, hold: Hold) -> None:
        """Hold it as if its label did not ask for more, unless its label holds enough."""
        self._freezing.discard(hold)
        label = hold.vm.allocation.label
        if self.held_in_slots(label) > hold.vm.label.max_held:
            log.warn("VM {vm} is not held: max_held VMs of its label are", vm=str(hold.vm))
            await self._holds.release(hold)

    def _space(self, host: Host) -> int:
        config = self._config().hosts.get(host.name)
        return 0 if config is None else config.frozen_space - host.frozen.size
