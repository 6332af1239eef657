# SPDX-License-Identifier: GPL-2.0-only
"""Build requests that wait for a VM of each label, since when and why, read every few seconds.

The question itself is in ``build_requests.py``; which label a request waits for is worked out in
``queues.py``, and why it waits in ``why_waiting.py``.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from latent_libvirt.master.queue.build_requests import (
    foremost,
    waiting,
)
from latent_libvirt.master.queue.queues import (
    UNDECIDED,
    by_label,
    labels_of_builders,
)

if TYPE_CHECKING:
    from latent_libvirt.master.queue.queues import Queue
    from latent_libvirt.master.queue.why_waiting import Explainer, Explanation
    from latent_libvirt.status.queue import Kind

log = Logger()

INTERVAL = 5.0
"""Seconds between two questions to the database."""

STALE_AFTER = 60.0
"""Seconds for which an answer is believed, if there is none after it."""

MOST_EXPLAINED = 500
"""Requests that are explained, those first that are to start first."""

TELL_AFTER = 60.0
"""Seconds that a request waits before the log says why."""

_NEXT: Final[tuple[Kind, ...]] = ("cap", "host", "next")
"""What holds requests that need nothing else than room or their turn."""


class WaitingRequests:
    """Knows the queues of *pool*'s labels, and asks for them again every few seconds.

    :param master: the Buildbot master.
    """

    def __init__(self, master: Any, pool: str, explainer: Explainer) -> None:
        self._master = master
        self._pool = pool
        self._explainer = explainer
        self._explanations: tuple[Explanation, ...] = ()
        self._labels_of_next: frozenset[str] = frozenset()
        self._told: set[tuple[str, str]] = set()
        self._last: dict[str, Queue] = {}
        self._asked_at = float("-inf")
        self._trouble = False
        self._asking = LoopingCall(self._ask)
        self._asking.clock = master.reactor
        self._under_way: Deferred[None] | None = None

    @property
    def current(self) -> dict[str, Queue] | None:
        """The queues by label, without those that are empty; ``None`` if they are not known."""
        fresh = time.monotonic() - self._asked_at < STALE_AFTER
        return self._last if fresh else None

    @property
    def explanations(self) -> tuple[Explanation, ...]:
        """Why requests wait, those first that are to start first; none if that is not known."""
        return () if self.current is None else self._explanations

    @property
    def labels_of_next(self) -> frozenset[str]:
        """The labels of requests that start as soon as they have room, or their turn comes.

        Those that wait for something else may do so for days. So may those whose label has room
        that is kept for others.
        """
        return frozenset() if self.current is None else self._labels_of_next

    def start(self) -> None:
        """Begin to ask, in the background."""
        self._asking.start(INTERVAL)

    async def stop(self) -> None:
        """Ask no longer; wait for what is being asked."""
        if self._asking.running:
            self._asking.stop()
        if self._under_way is not None:
            await self._under_way

    def _ask(self) -> Deferred[None]:
        asked = self._under_way = Deferred.fromCoroutine(self.refresh())
        return asked.addErrback(self._cannot_ask)

    async def refresh(self) -> None:
        """Ask now."""
        queues = await self._master.db.pool.do(waiting)
        self._last = by_label(queues, self._labels(queues))
        first = await self._master.db.pool.do(partial(foremost, most=MOST_EXPLAINED))
        self._explanations = await self._explainer.explain(first)
        self._labels_of_next = _of_next(self._explanations)
        self._tell()
        self._asked_at = time.monotonic()
        self._trouble = False

    def _tell(self) -> None:
        """Log why requests of a builder wait for long: once, and again when the reason changes."""
        before = time.time() - TELL_AFTER
        long = [each for each in self._explanations if each.request.since <= before]
        reasons = {(each.request.builder, each.reason.text): each for each in reversed(long)}
        for each in (reasons[key] for key in reasons.keys() - self._told):
            log.info(
                "pool {pool}: request {id} of builder {builder} has waited for {seconds} s: {why}",
                pool=self._pool,
                id=each.request.id,
                builder=each.request.builder,
                seconds=round(time.time() - each.request.since),
                why=each.reason.text,
            )
        self._told = set(reasons)

    def _cannot_ask(self, failure: Failure) -> None:
        if not self._trouble:
            log.failure("the waiting requests cannot be read from the database", failure)
        self._trouble = True

    def _labels(self, builders: Iterable[str]) -> dict[str, frozenset[str]]:
        known = self._master.botmaster.builders
        workers = {name: known[name].config.workernames for name in builders if name in known}
        labels = {
            name: worker.fixed_label or UNDECIDED
            for name, worker in self._master.workers.workers.items()
            if getattr(worker, "pool_name", None) == self._pool
        }
        return labels_of_builders(workers, labels)


def _of_next(explanations: Iterable[Explanation]) -> frozenset[str]:
    """Return the labels of those that need nothing else than room or their turn."""
    found = ({*each.labels} - each.kept for each in explanations if each.reason.kind in _NEXT)
    return frozenset(chain.from_iterable(found))
