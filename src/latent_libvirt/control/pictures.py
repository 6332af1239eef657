# SPDX-License-Identifier: GPL-2.0-only
"""Pictures of the screens of VMs: taken while somebody asks, with bounds on how often."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from twisted.internet.defer import Deferred, DeferredSemaphore

from latent_libvirt.deferreds import Outcome
from latent_libvirt.timers import passed

if TYPE_CHECKING:
    from latent_libvirt.pool.vm import VM

EVERY: Final = 3.0
"""Seconds between two pictures of a VM."""

AT_A_TIME: Final = 2
"""Pictures that a host takes at a time. One that hangs holds up those of its host only."""


class Pictures:
    """The last picture of each VM of a pool."""

    def __init__(self) -> None:
        self._last: WeakKeyDictionary[VM, _Picture] = WeakKeyDictionary()
        self._turns: WeakKeyDictionary[Any, DeferredSemaphore] = WeakKeyDictionary()

    async def of(self, vm: VM) -> bytes:
        """Return a picture of the screen of *vm* as PNG, at most :data:`EVERY` seconds old.

        :raises LatentLibvirtError: if there is none.
        """
        now = passed(vm.machine.host.reactor)
        last = self._last.get(vm)
        if last is None or now - last.began >= EVERY:
            turns = self._turns.setdefault(vm.machine.host, DeferredSemaphore(AT_A_TIME))
            last = self._last[vm] = _Picture(vm, turns, now)
        await last.outcome.wait()
        return last.data


class _Picture:
    """A picture that is being taken, or was.

    :param began: when, on the reactor's clock.
    """

    def __init__(self, vm: VM, turns: DeferredSemaphore, began: float) -> None:
        self.began = began
        self.data = b""
        self.outcome = Outcome(self._take(vm, turns))

    async def _take(self, vm: VM, turns: DeferredSemaphore) -> None:
        taken: Any = turns.run(lambda: Deferred.fromCoroutine(vm.machine.picture()))
        self.data = await taken
