# SPDX-License-Identifier: GPL-2.0-only
"""Room kept for a build between Buildbot's question whether it may start and the start of its VM.

Buildbot asks whether a build may start (``last_word.py``), then claims the build request in the
database, and only then starts the build. Without a reservation, the next question would be answered
before the first VM counts, and a cap would not hold (measured: three VMs at a cap of one).

A claim may fail, and the worker does not hear of it. But one master decides about one request at a
time (``BuildRequestDistributor``'s activity lock): so when the next question comes, or there is
none left, a reservation whose build has not started is void.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latent_libvirt.pool.allocator import (
        Allocator,
        Grant,
    )
    from latent_libvirt.pool.room.allocations import Allocation
    from latent_libvirt.pool.room.amounts import Size


class Reservations:
    """Which worker has room of *allocator* reserved for it."""

    def __init__(self, allocator: Allocator) -> None:
        self._allocator = allocator
        self._grants: dict[str, Grant] = {}
        self._undecided: str | None = None

    def allocations(self) -> dict[str, Allocation]:
        """Return the allocation that each worker has reserved."""
        return {worker: grant.allocation for worker, grant in self._grants.items()}

    def may_have_room(self, label: str, size: Size | None = None) -> bool:
        """Whether :meth:`reserve` may succeed: exact, except while a reservation is undecided."""
        return self._undecided is not None or self._allocator.has(label, size)

    def reserve(self, worker: str, label: str, size: Size | None = None) -> bool:
        """Reserve room for *worker*, and return whether there was any.

        :param size: that its build has chosen, or ``None`` for the label's.
        """
        self.void()
        if worker in self._grants:
            return False
        grant = self._allocator.take(label, size=size)
        if grant is None:
            return False
        self._grants[worker] = grant
        self._undecided = worker
        return True

    def confirm(self, worker: str) -> None:
        """Keep *worker*'s reservation, whatever is asked next: its build has started."""
        if self._undecided == worker:
            self._undecided = None

    def use(self, worker: str, label: str, size: Size | None = None) -> Grant | None:
        """Turn the reservation of *worker* into the room itself, if it is for these."""
        grant = self._grants.pop(worker, None)
        self.confirm(worker)
        if grant is not None and not _is_for(grant.allocation, label, size):
            self._allocator.give_back(grant)
            return None
        return grant

    def cancel(self, worker: str) -> bool:
        """Give *worker*'s reservation back, and return whether it had one."""
        grant = self._grants.pop(worker, None)
        self.confirm(worker)
        if grant is not None:
            self._allocator.give_back(grant)
        return grant is not None

    def void(self) -> None:
        """Give back what was reserved for a build that has not started."""
        if self._undecided is not None:
            self.cancel(self._undecided)


def _is_for(allocation: Allocation, label: str, size: Size | None) -> bool:
    return allocation.label == label and size in (None, allocation.size)
