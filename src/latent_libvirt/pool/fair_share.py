# SPDX-License-Identifier: GPL-2.0-only
"""Whose turn it is when several builders wait for room: pure rules, no I/O.

The request with the highest priority comes first (Buildbot's own priority, larger is more urgent).
Among equals, the builder that has the fewest VMs at this moment; then the one whose request is the
oldest. So a builder with a thousand requests shares the room with one that has two.

Buildbot's distributor takes a list of builders, sorted once, and lets each of them start all it can
before it comes to the next. Here a builder's turn ends as soon as another one on the list has a
better claim; it is then put on the list again. A better claim counts only for builders whose turn
is still to come, or who have got something in this list: one that cannot use its turn, for whatever
reason, holds up nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Claim = tuple[float, int, float, str]
"""Sorts the best claim first."""


@dataclass(frozen=True)
class Waiting:
    """What waits for a builder.

    :param requests: how many, by their priority.
    :param since: when the oldest of each priority was submitted, in seconds since the epoch.
    """

    requests: Mapping[float, int]
    since: Mapping[float, float]


NOTHING = Waiting({}, {})


class FairShare:
    """Keeps the lists of one distributor."""

    def __init__(self) -> None:
        self._waiting: dict[str, Waiting] = {}
        self._vms: Counter[str] = Counter()
        self._list: list[str] = []
        self._next_list: list[str] = []
        self._position = 0
        self._served: Counter[str] = Counter()
        self._ended: set[str] = set()

    def line_up(
        self, builders: Iterable[str], waiting: Mapping[str, Waiting], vms: Mapping[str, int]
    ) -> list[str]:
        """Return the order in which the distributor is to try *builders*, from its next list on.

        :param waiting: for each builder that something waits for.
        :param vms: how many VMs each builder has.
        """
        self._waiting = dict(waiting)
        self._vms = Counter(vms)
        self._served.clear()
        self._next_list = sorted(builders, key=self._claim)
        return list(self._next_list)

    def may_take(self, builder: str, priority: float) -> bool:
        """Whether it is the turn of *builder*, for a request of that priority; if not, it ends."""
        if not self._come_to(builder):
            return True
        claim = self._claim(builder, priority)
        others = (*self._list[self._position + 1 :], *self._served_before())
        if all(claim <= self._claim(other) for other in others):
            return True
        self._ended.add(builder)
        return False

    def took(self, builder: str) -> None:
        """Note that *builder* has been given room."""
        self._served[builder] += 1

    def gave_back(self, builder: str) -> None:
        """Note that *builder* has not used the room that it was given last."""
        if self._served[builder] > 0:
            self._served[builder] -= 1

    def no_room(self, builder: str) -> None:
        """Note that there was nothing for *builder*: its claim holds up nobody."""
        self._served.pop(builder, None)

    def _come_to(self, builder: str) -> bool:
        """Find *builder* on the list, or on the next one. Return whether it is on either."""
        if builder in self._list[self._position :] and builder not in self._ended:
            self._position = self._list.index(builder, self._position)
            return True
        if builder not in self._next_list:
            return False
        self._list, self._next_list = self._next_list, []
        self._position = self._list.index(builder)
        self._ended.clear()
        return True

    def _served_before(self) -> list[str]:
        """Return those that have got something in this list, and may want more."""
        return [other for other in self._list[: self._position] if self._served[other]]

    def _claim(self, builder: str, priority: float | None = None) -> Claim:
        urgency = self._next_priority(builder) if priority is None else priority
        vms = self._vms[builder] + self._served[builder]
        if urgency is None:
            return float("inf"), vms, float("inf"), builder
        since = self._waiting.get(builder, NOTHING).since.get(urgency, 0.0)
        return -urgency, vms, since, builder

    def _next_priority(self, builder: str) -> float | None:
        """Return the priority of the request that comes next, after those that were served."""
        served = self._served[builder]
        requests = self._waiting.get(builder, NOTHING).requests
        for priority in sorted(requests, reverse=True):
            served -= requests[priority]
            if served < 0:
                return priority
        return None
