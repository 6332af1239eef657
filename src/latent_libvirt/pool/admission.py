# SPDX-License-Identifier: GPL-2.0-only
"""Admission of builds: whether one may start, and the room that is kept for it until it does.

``master/workers/question.py`` describes the order in which Buildbot asks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from latent_libvirt.config.hardware.choice import least_size
from latent_libvirt.pool import child_room
from latent_libvirt.pool.allocator import Evictable
from latent_libvirt.pool.fair_share import FairShare
from latent_libvirt.pool.reservations import Reservations
from latent_libvirt.pool.room.amounts import Size

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.pool.allocator import Allocator, Grant
    from latent_libvirt.pool.lease import Idle, Lease
    from latent_libvirt.pool.leases import Leases
    from latent_libvirt.pool.room.capacity import Capacity


class Admission:
    """Decides which build of a pool gets room.

    :param config: returns the pool's configuration as it is now.
    :param room_changed: called when room was given back.
    :ivar withdrawn: the labels that were configured, and are not any more.
    :ivar turns: whose turn it is among builders.
    """

    def __init__(
        self,
        capacity: Capacity,
        allocator: Allocator,
        leases: Leases,
        *,
        config: Callable[[], PoolConfig],
        room_changed: Callable[[], None],
    ) -> None:
        self._capacity = capacity
        self._allocator = allocator
        self._leases = leases
        self._config = config
        self.withdrawn: frozenset[str] = frozenset()
        self._room_changed = room_changed
        self.fair_share = FairShare()
        self._reservations = Reservations(allocator)
        self._undecided_turn = ""
        self._undecided_vm: Idle | None = None
        self._children: set[str] = set()

    def may_have_room(self, label: str, size: Size | None = None) -> bool:
        """Whether it is worth asking for room for a VM of *label*.

        :param size: that a build has chosen, or ``None`` for the least that one may choose.

        A label that was never configured has room: its builds must fail and say so, not wait for
        ever. Those of a label that was taken out of the file wait: it may be on its way back.
        """
        found = self._config().labels.get(label)
        if found is None:
            return self._is_unknown(label)
        if size is None and found.choice:
            size = Size(*least_size(found))
        may_have = self._reservations.may_have_room(label, size)
        return may_have or self._allocator.can_make_room(label, size)

    def _is_unknown(self, label: str) -> bool:
        return label not in self._config().labels and label not in self.withdrawn

    def is_kept_for_children(self, label: str) -> bool:
        """Whether what there is of *label* is only for builds that others wait for."""
        caps = self._capacity.caps
        if label not in caps.labels or not caps.for_children:
            return False
        in_use = self._reservations.allocations() | {
            name: lease.vm.allocation for name, lease in self._leases.items() if lease.idle is None
        }
        children = [allocation for name, allocation in in_use.items() if name in self._children]
        may_go = {victim.allocation for victim in self._allocator.evictable()}
        busy = self._capacity.taken - may_go
        return not child_room.may_take(label, caps, busy, children)

    def note_child(self, worker: str, *, awaited: bool) -> None:
        """Note whether another build waits for the one that *worker* is about to get."""
        (self._children.add if awaited else self._children.discard)(worker)

    def reserve(
        self,
        worker: str,
        label: str,
        builder: str = "",
        *,
        awaited: bool = False,
        size: Size | None = None,
    ) -> bool:
        """Keep room for a VM of *label* for *worker*, and return whether there was any.

        :param builder: the name of the builder that asks.
        :param awaited: whether another build waits for this one.
        :param size: that the build has chosen, or ``None`` for the label's.
        """
        self.nothing_is_undecided()
        if not awaited and self.is_kept_for_children(label):
            self.fair_share.no_room(builder)
            return False
        self.note_child(worker, awaited=awaited)
        if self._is_unknown(label) or self._reservations.reserve(worker, label, size):
            self.fair_share.took(builder)
            self._undecided_turn = builder
            return True
        self.fair_share.no_room(builder)
        if label in self._config().labels:
            self._allocator.make_room(label, size)
        return False

    def make_way(self, label: str, lease: Lease, idle: Idle, size: Size | None = None) -> None:
        """Begin to free a worker, and room, for a build of *label*; end no more than it takes.

        :param lease: of the worker that was asked, whose VM idles and is of another label or size.
        :param size: that the build has chosen, or ``None`` for the label's.
        """
        self.nothing_is_undecided()
        if label in self.withdrawn:
            return
        if label not in self._config().labels or self._allocator.has(label, size):
            self._allocator.evict(
                label, [Evictable(lease.vm.allocation, f"idle VM {lease}", idle.end)]
            )
        else:
            self._allocator.make_room(label, size)

    def confirm_reservation(self, worker: str) -> None:
        """Keep the room that was reserved: the build has started."""
        self._reservations.confirm(worker)
        self._undecided_turn, self._undecided_vm = "", None

    def promise(self, idle: Idle) -> None:
        """Note that a build may be on its way to a VM that idles."""
        self.nothing_is_undecided()
        self._undecided_vm = idle

    def nothing_is_undecided(self) -> None:
        """Take back what was promised to a build that has not started."""
        self._reservations.void()
        self.fair_share.gave_back(self._undecided_turn)
        if self._undecided_vm is not None:
            self._undecided_vm.promised_until = 0.0
        self._undecided_turn, self._undecided_vm = "", None

    def cancel_reservation(self, worker: str) -> None:
        """Give back room that was reserved, if there is any: the build needs none any more."""
        if self._reservations.cancel(worker):
            self._room_changed()

    def reserved(self, worker: str, label: str, size: Size | None = None) -> Grant | None:
        """Return the room that was reserved, if its host is still configured, and keep it taken."""
        grant = self._reservations.use(worker, label, size)
        if grant is None or grant.allocation.host in self._config().hosts:
            return grant
        self._allocator.give_back(grant)
        return None
