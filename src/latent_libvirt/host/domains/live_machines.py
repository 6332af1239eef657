# SPDX-License-Identifier: GPL-2.0-only
"""Machines that live on one host: registered by id and by slot, until none is left."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from twisted.internet import defer
from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from latent_libvirt.host.domains.machine import Machine


class LiveMachines:
    """The VMs of this master on a host.

    :param of_pool: the VMs of the whole pool, on any host, by id; those here are added.
    :param removed: called with the id of a VM that is registered no longer.
    """

    def __init__(
        self, of_pool: dict[str, Machine], removed: Callable[[str], None], reactor: Any
    ) -> None:
        self.by_id: dict[str, Machine] = {}
        self._of_pool = of_pool
        self._removed = removed
        self._reactor = reactor
        self._in_slot: dict[int, Machine] = {}
        self._users = 0
        self._empty: Deferred[None] | None = None

    def add(self, machine: Machine) -> Machine:
        """Register *machine*, and return it."""
        vm_id = machine.record.vm_id
        self._of_pool[vm_id] = self.by_id[vm_id] = self._in_slot[machine.plan.slot] = machine
        return machine

    def remove(self, machine: Machine) -> None:
        """Unregister *machine*."""
        vm_id = machine.record.vm_id
        self._of_pool.pop(vm_id, None)
        self.by_id.pop(vm_id, None)
        if self._in_slot.get(machine.plan.slot) is machine:
            del self._in_slot[machine.plan.slot]
        self._removed(vm_id)
        self._note_if_empty()

    def in_slot(self, slot: int) -> Machine | None:
        """Return the VM that was registered last in *slot*, ``None`` if it is gone."""
        return self._in_slot.get(slot)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Do not count as empty until the block ends, although no VM may be registered."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            self._note_if_empty()

    async def until_empty(self, timeout: float | None) -> None:
        """Wait until no VM is registered, and nothing is in use, for *timeout* seconds at most."""
        if self._is_empty:
            return
        self._empty = Deferred()
        if timeout is not None:
            self._empty.addTimeout(timeout, self._reactor)
        with contextlib.suppress(defer.TimeoutError):
            await self._empty

    @property
    def _is_empty(self) -> bool:
        return not self.by_id and not self._users

    def _note_if_empty(self) -> None:
        if self._empty is not None and self._is_empty and not self._empty.called:
            self._empty.callback(None)
