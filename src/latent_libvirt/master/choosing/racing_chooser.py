# SPDX-License-Identifier: GPL-2.0-only
"""A choice of builds by which masters with the same builders keep out of each other's way.

Buildbot's distributor looks which requests of a builder wait, loads the first one, some ten queries
of the database, and claims it. With two busy masters another has done the same in the meantime in
four of ten cases, and all of that was for nothing. So a master that has lost such a race takes any
of the first requests for a while, rather than the very first.

Which request is next otherwise is Buildbot's business, and ``build_chooser.py``'s.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, MutableSequence
from operator import itemgetter
from typing import Any, Final
from weakref import WeakKeyDictionary

from buildbot.process.buildrequestdistributor import BasicBuildChooser
from twisted.internet.defer import inlineCallbacks

HEAT: Final = 5.0
"""Seconds after a lost race during which others are taken to be after the same requests."""

FIRST: Final = 32
"""Of how many requests any may be next, then."""


class Race:
    """Whether other masters are after a builder's requests, too.

    Buildbot's distributor makes a new chooser when it could not claim what the last one chose, and
    asks the same one again when it could.
    """

    def __init__(self) -> None:
        self._has_chosen = False
        self._lost_at = -HEAT

    @property
    def is_on(self) -> bool:
        """Whether one was lost a short time ago."""
        return time.monotonic() - self._lost_at < HEAT

    def chooser_is_new(self) -> None:
        """Note that there is a new chooser."""
        if self._has_chosen:
            self._lost_at = time.monotonic()
        self._has_chosen = False

    def chooser_is_asked(self) -> None:
        """Note that the chooser is asked, maybe once more."""
        self._has_chosen = False

    def chooser_has_chosen(self) -> None:
        """Note that a request is about to be claimed."""
        self._has_chosen = True


_races: WeakKeyDictionary[Any, Race] = WeakKeyDictionary()


class RacingChooser(BasicBuildChooser):
    """Buildbot's chooser, which makes way when others choose the same."""

    unclaimedBrdicts: Any  # noqa: N815 - Buildbot's

    def __init__(self, builder: Any, master: Any) -> None:
        super().__init__(builder, master)
        self._race = _races.setdefault(builder, Race())
        self._race.chooser_is_new()

    @inlineCallbacks
    def chooseNextBuild(self) -> Generator[Any, Any, tuple[Any, Any]]:
        """Return the next worker and its requests; ``None`` for both if there is no such pair."""
        self._race.chooser_is_asked()
        worker, requests = yield super().chooseNextBuild()
        if worker is not None:
            self._race.chooser_has_chosen()
        return worker, requests

    @inlineCallbacks
    def _fetchUnclaimedBrdicts(self) -> Generator[Any, Any, Any]:
        is_new = self.unclaimedBrdicts is None
        requests = yield super()._fetchUnclaimedBrdicts()
        if is_new and self._race.is_on:
            mix(requests.data, itemgetter("priority"))
        return requests


def mix(requests: MutableSequence[Any], priority: Callable[[Any], float]) -> None:
    """Shuffle the first requests, in place; what has the higher priority stays before the others.

    :param requests: the oldest first; Buildbot takes the first of those with the highest priority.
    :param priority: of a request.
    """
    by_priority = sorted(requests, key=priority, reverse=True)
    first = by_priority[:FIRST]
    random.shuffle(first)
    requests[:FIRST] = sorted(first, key=priority, reverse=True)
    requests[FIRST:] = by_priority[FIRST:]
