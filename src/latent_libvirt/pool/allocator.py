# SPDX-License-Identifier: GPL-2.0-only
"""Grants for jobs: a spare that waits, or else room for another VM.

Where there is neither, but VMs that nobody needs are in the way, they are evicted: spares of other
labels, and VMs that idle between builds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from latent_libvirt.deferreds import in_background

if TYPE_CHECKING:
    from latent_libvirt.pool.room.allocations import Allocation
    from latent_libvirt.pool.room.amounts import Size
    from latent_libvirt.pool.room.capacity import Capacity, Wanted
    from latent_libvirt.pool.spares import Spares
    from latent_libvirt.pool.vm import (
        VM,
        Way,
    )

log = Logger()


@dataclass(frozen=True, eq=False)
class Grant:
    """Room for one VM, taken.

    :param spare: the VM that is there already.
    """

    allocation: Allocation
    spare: VM | None = None

    @property
    def way(self) -> Way:
        """How a job that is given it comes by its VM."""
        return "cold" if self.spare is None else "spare"


@dataclass(frozen=True, eq=False)
class Evictable:
    """A VM that may go if a job needs its grant.

    :param evict: begins to end it; fires when its allocation has been given back.
    """

    allocation: Allocation
    what: str
    evict: Callable[[], Deferred[None]]


class Allocator:
    """Gives room to jobs.

    :param evictable: returns the VMs that may go, those that are missed least first.
    """

    def __init__(
        self, capacity: Capacity, spares: Spares, evictable: Callable[[], Iterable[Evictable]]
    ) -> None:
        self._capacity = capacity
        self._spares = spares
        self.evictable = evictable
        self._being_made: set[str] = set()
        self._hopeless: set[tuple[str, Size | None]] = set()

    def has(self, label: str, size: Size | None = None) -> bool:
        """Whether :meth:`take` would succeed."""
        return self._has_spare(label, size) or self._capacity.room(label, size)

    def would_have(self, wanted: Collection[Wanted]) -> frozenset[Wanted]:
        """Return those of *wanted* that have room, or would have without all that may be evicted.

        :param wanted: labels, each with the size that a job has chosen, or ``None``.
        """
        found = frozenset(each for each in wanted if self.has(*each))
        others = frozenset(wanted) - found
        if not others:
            return found
        may_go = [victim.allocation for victim in self.evictable()]
        return found | self._capacity.rooms_without(others, may_go)

    def _has_spare(self, label: str, size: Size | None) -> bool:
        return self._capacity.caps.is_usual(label, size) and self._spares.has(label)

    def take(
        self,
        label: str,
        avoid: Collection[str] = (),
        avoid_slots: Collection[tuple[str, int]] = (),
        size: Size | None = None,
    ) -> Grant | None:
        """Take room for a job of *label*, if there is any.

        :param avoid: hosts that are used only if no other has room.
        :param avoid_slots: slots, by host and number, that are used only if no other there is free.
        :param size: that the job has chosen, or ``None`` for the label's, which spares have.
        """
        is_usual = self._capacity.caps.is_usual(label, size)
        spare = self._spares.claim(label, avoid) if is_usual else None
        if spare is not None:
            return Grant(spare.allocation, spare)
        allocation = self._capacity.take(label, avoid, avoid_slots, size)
        return None if allocation is None else Grant(allocation)

    def give_back(self, grant: Grant) -> None:
        """Give back room that was not used."""
        if grant.spare is not None:
            self._spares.put_back(grant.spare)
        else:
            self._capacity.give_back(grant.allocation)

    # Eviction.

    def changed(self) -> None:
        """Note that there may be room now where there was none."""
        self._hopeless.clear()

    def can_make_room(self, label: str, size: Size | None = None) -> bool:
        """Whether it is worth to ask for room for *label*, because something may be evicted."""
        return (label, size) not in self._hopeless and label not in self._being_made

    def make_room(self, label: str, size: Size | None = None) -> None:
        """Begin to evict what is in the way of a job of *label*; requests try again afterwards."""
        if not self.can_make_room(label, size):
            return
        victims = self._victims(label, size)
        if not victims:
            self._hopeless.add((label, size))
            return
        self.evict(label, victims)

    def evict(self, label: str, victims: list[Evictable]) -> None:
        """Begin to end *victims* for a job of *label*, unless others are being ended for it."""
        if label in self._being_made:
            return
        names = ", ".join(victim.what for victim in victims)
        log.info("a job of label {label} needs the room of {names}", label=label, names=names)
        self._being_made.add(label)
        evicted = gatherResults([victim.evict() for victim in victims], consumeErrors=True)
        in_background(evicted, "eviction").addCallback(lambda _: self._being_made.discard(label))

    def _victims(self, label: str, size: Size | None) -> list[Evictable]:
        """Return the fewest VMs, of one host, whose end makes room for *label*."""
        candidates = list(self.evictable())
        allocations = [victim.allocation for victim in candidates]
        if not self._capacity.room_without(label, allocations, size):
            return []
        return next(self._enough(label, candidates, size), candidates)

    def _enough(
        self, label: str, candidates: list[Evictable], size: Size | None
    ) -> Iterator[list[Evictable]]:
        by_host: dict[str, list[Evictable]] = defaultdict(list)
        for victim in candidates:
            by_host[victim.allocation.host].append(victim)
        most = max(map(len, by_host.values()))
        for count in range(1, most + 1):
            for victims in by_host.values():
                some = victims[:count]
                allocations = [victim.allocation for victim in some]
                if self._capacity.room_without(label, allocations, size):
                    yield some
