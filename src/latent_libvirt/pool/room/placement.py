# SPDX-License-Identifier: GPL-2.0-only
"""The best of many hosts for a VM of some size, found without looking at each of them.

Pure arithmetic; what a host has left is worked out in ``host_choice.py``.

For each amount that can matter there is the set of hosts that have at least as much left; what they
have in common is found at once (``host_sets.py``). Neither the number of labels nor that of their
sizes makes a choice slower.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from latent_libvirt.pool.room.amounts import Left
from latent_libvirt.pool.room.host_sets import HostSet, first, masks

if TYPE_CHECKING:
    from latent_libvirt.pool.room.amounts import Size

Placement = Literal["spread", "pack"]

UNKNOWN = Left(-1, -1, -1)
"""Of a host that nothing has been noted of: room for nothing, not even for a VM of no size."""


class HostRanking:
    """What each host has left, and the best of them for a VM of one of *sizes*.

    :param limits: the most that each host will ever have left, by its name, in the order that
        decides among equals.
    :param sizes: all that :meth:`best` will be asked for.
    """

    def __init__(self, limits: Mapping[str, Left], sizes: Collection[Size]) -> None:
        self._names = list(limits)
        self._positions = {name: position for position, name in enumerate(limits)}
        self._left = dict.fromkeys(limits, UNKNOWN)
        most = list(limits.values())
        self._counts = range(1, max((left.slots for left in most), default=0) + 1)
        self._slots = self._levels([1], [left.slots for left in most])
        self._vcpus = self._levels([size.vcpus for size in sizes], [left.vcpus for left in most])
        self._memory = self._levels([size.memory for size in sizes], [left.memory for left in most])

    def _levels(self, units: Iterable[int], limits: Iterable[float]) -> _Levels:
        amounts = {unit * count for unit in units for count in self._counts}
        return _Levels(amounts, limits, hosts=len(self._names))

    def note(self, host: str, left: Left) -> None:
        """Record what *host* has left."""
        position, before = self._positions[host], self._left[host]
        self._left[host] = left
        self._slots.move(position, before.slots, left.slots)
        self._vcpus.move(position, before.vcpus, left.vcpus)
        self._memory.move(position, before.memory, left.memory)

    def group(self, hosts: Iterable[str]) -> HostSet:
        """Return the set of those *hosts* that are known, as :meth:`best` takes it."""
        return HostSet(len(self._names), self._known(hosts))

    def put(self, group: HostSet, host: str, *, inside: bool) -> None:
        """Have *host* in *group*, or not."""
        position = self._positions.get(host)
        if position is not None and (position in group) != inside:
            group.toggle(position)

    def _known(self, hosts: Iterable[str]) -> list[int]:
        return [self._positions[host] for host in set(hosts) if host in self._positions]

    def has_room(self, groups: Sequence[HostSet], size: Size) -> bool:
        """Whether any host that is in all *groups* has room for a VM of *size*."""
        return first((*groups, *self._room_for(size, 1))) is not None

    def best(
        self,
        groups: Sequence[HostSet],
        size: Size,
        placement: Placement,
        avoid: Iterable[str] = (),
    ) -> str | None:
        """Return the host for a VM of *size* that is in all *groups*, or ``None`` if none has room.

        With ``spread``, that is the host with room for the most such VMs, with ``pack`` the one
        with room for the fewest; among equals, the first. One to *avoid* is better than none.
        """
        choose = self._with_least_room if placement == "pack" else self._with_most_room
        found = choose(groups, size, masks(self._known(avoid)))
        if found is None and avoid:
            found = choose(groups, size, {})
        return None if found is None else self._names[found]

    def best_of(
        self,
        hosts: Iterable[str],
        size: Size,
        placement: Placement,
        avoid: Iterable[str] = (),
    ) -> str | None:
        """Return what :meth:`best` would, of *hosts*, for a size that was not known before.

        It looks at each of them.
        """
        among, avoided = set(hosts), set(avoid)
        rooms = {host: left.room_for(size) for host, left in self._left.items() if host in among}
        roomy = [host for host, room in rooms.items() if room > 0]
        preferred = [host for host in roomy if host not in avoided] or roomy
        choose = min if placement == "pack" else max
        return choose(preferred, key=rooms.__getitem__, default=None)

    def _room_for(self, size: Size, count: int) -> tuple[HostSet, HostSet, HostSet]:
        """Return the sets that a host is in which has room for *count* VMs of *size*."""
        return (
            self._slots.at_least(count),
            self._vcpus.at_least(count * size.vcpus),
            self._memory.at_least(count * size.memory),
        )

    def _with_most_room(
        self, groups: Sequence[HostSet], size: Size, avoid: Mapping[int, int]
    ) -> int | None:
        def one_with(count: int) -> int | None:
            return first((*groups, *self._room_for(size, count)), avoid=avoid)

        more = bisect_left(self._counts, True, key=lambda count: one_with(count) is None)
        return one_with(more) if more else None

    def _with_least_room(
        self, groups: Sequence[HostSet], size: Size, avoid: Mapping[int, int]
    ) -> int | None:
        def one_without(count: int) -> int | None:
            roomy = (*groups, *self._room_for(size, 1))
            return first(roomy, self._room_for(size, count), avoid)

        least = bisect_left(
            self._counts, True, key=lambda count: one_without(count + 1) is not None
        )
        return one_without(self._counts[least] + 1) if least < len(self._counts) else None


class _Levels:
    """Which hosts have at least how much of one thing.

    :param amounts: all that :meth:`at_least` will be asked for.
    :param limits: the most that each host can have.
    :param hosts: how many there are.
    """

    def __init__(self, amounts: Iterable[int], limits: Iterable[float], *, hosts: int) -> None:
        largest = max((limit for limit in limits if limit != math.inf), default=-math.inf)
        # Above that, all amounts are one: only who has no limit has so much.
        within = sorted(amount for amount in amounts if amount <= largest)
        self._amounts: list[float] = [*within, math.inf]
        self._hosts = [HostSet(hosts) for _ in self._amounts]

    def at_least(self, amount: int) -> HostSet:
        """Return the hosts that have *amount* or more."""
        return self._hosts[bisect_left(self._amounts, amount)]

    def move(self, host: int, before: float, now: float) -> None:
        """Note that *host* no longer has *before*, but *now*."""
        if before == now:
            return
        ends = bisect_right(self._amounts, before), bisect_right(self._amounts, now)
        for level in range(min(ends), max(ends)):
            self._hosts[level].toggle(host)
