# SPDX-License-Identifier: GPL-2.0-only
"""Steps of one VM: calls to its host, one at a time, of which none comes after its end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from latent_libvirt.errors import GuestError
from latent_libvirt.host.domains.start_errors import SlotTakenError

if TYPE_CHECKING:
    import libvirt

    from latent_libvirt.host.context import HostContext
    from latent_libvirt.host.events import Operation

T = TypeVar("T")


class Steps:
    """The calls about the VM *name*."""

    def __init__(self, host: HostContext, name: str) -> None:
        self._host = host
        self._name = name
        self._one_at_a_time = threading.Lock()
        self.are_over = False
        """Whether nothing may be started any more; written with the lock."""
        self.came_too_late = False
        """Whether another master has taken the slot in the meantime."""

    async def call(
        self, operation: Operation, what: str, function: Callable[[libvirt.virConnect], T]
    ) -> T:
        """Call *function* in a thread of the host's connection, and return its result.

        :param what: what it does, for people.
        :raises GuestError: if the VM has been given up.
        :raises HostError: if there is no connection, or libvirt refuses.
        """
        try:
            return await self._host.connection.call(operation, what, self._unless_over, function)
        except SlotTakenError:
            self.came_too_late = True
            raise

    def _unless_over(
        self, connection: libvirt.virConnect, function: Callable[[libvirt.virConnect], T]
    ) -> T:
        """Call *function* unless the VM is destroyed: a start given up must not come after that."""
        with self._one_at_a_time:
            if self.are_over:
                raise given_up(self._name)
            return function(connection)

    def end(
        self, connection: libvirt.virConnect, function: Callable[[libvirt.virConnect], None]
    ) -> None:
        """Call *function*, which is the last one. Blocks."""
        with self._one_at_a_time:
            self.are_over = True
            function(connection)


def given_up(name: str) -> GuestError:
    """Return the error of a step that comes after the end of the VM *name*."""
    return GuestError(f"VM {name} has been given up")
