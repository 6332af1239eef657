# SPDX-License-Identifier: GPL-2.0-only
"""Queue of a running deployment, as Buildbot's REST API shows it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from latent_libvirt.stress import clock
from latent_libvirt.stress.target.rest import TargetError

if TYPE_CHECKING:
    from latent_libvirt.stress.measure.raw import Row
    from latent_libvirt.stress.target.rest import Rest

FIELDS: Final = ("complete", "buildrequestid", "claimed", "submitted_at")
QUERY: Final = "&".join(["complete=false", *(f"field={name}" for name in FIELDS)])

SHARE: Final = 0.1
"""Share of the time that questions about the queue may take of the target."""

LONGEST_SILENCE: Final = 120.0
"""Seconds without an answer after which the run ends: nothing more would be learnt."""


class Queue:
    """The queue of a target, which is asked for seldom if answers take long.

    :param mine: returns the numbers of the requests of this run.
    """

    def __init__(self, rest: Rest, mine: Callable[[], frozenset[int]]) -> None:
        self._rest = rest
        self._mine = mine
        self._lock = threading.Lock()
        self._row: Row = {"mine": 0, "known": 0}
        self._due = 0.0
        self._heard_at = clock.now()

    def sample(self) -> list[Row]:
        """Return the numbers of all requests there are, and the age of the oldest that waits.

        ``mine`` is how many requests of this run have not ended. Nothing is returned if it is too
        early to ask again.
        """
        with self._lock:
            began = clock.now()
            if began < self._due:
                return []
            try:
                self._row = self._look(began)
            except TargetError as error:
                if error.is_refusal or began - self._heard_at > LONGEST_SILENCE:
                    raise
                return []  # under such a load, an answer may be missing
            self._heard_at = clock.now()
            self._due = self._heard_at + self._row["seconds"] / SHARE
            return [self._row]

    def check(self) -> None:
        """Ask once.

        :raises TargetError: the queue cannot be read.
        """
        self._row = self._look(clock.now())

    def unfinished(self) -> int:
        """Return how many requests of this run have not ended, by the last sample."""
        known = len(self._mine())
        with self._lock:
            # What was accepted after the last look has not been seen yet.
            return int(self._row["mine"]) + known - int(self._row["known"])

    def _look(self, began: float) -> Row:
        mine = self._mine()
        requests = self._rest.rows("buildrequests", QUERY)
        unfinished = mine & {int(request["buildrequestid"]) for request in requests}
        waiting = [request["submitted_at"] for request in requests if not request["claimed"]]
        return {
            "at": began,
            "unfinished": len(requests),
            "waiting": len(waiting),
            "finished": len(mine) - len(unfinished),
            "age": max(0.0, began - min(waiting, default=began)),
            "mine": len(unfinished),
            "known": len(mine),
            "seconds": clock.now() - began,
        }
