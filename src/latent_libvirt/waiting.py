# SPDX-License-Identifier: GPL-2.0-only
"""How many build requests wait for a VM of each label, and since when: asked every few seconds.

The question itself is in ``build_requests.py``; which label a request waits for is worked out in
``queues.py``.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Iterable
from functools import reduce
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from latent_libvirt.build_requests import unclaimed
from latent_libvirt.queues import UNDECIDED, Queue, by_label, labels_of_builders

log = Logger()

INTERVAL = 5.0
"""Seconds between two questions to the database."""

STALE_AFTER = 60.0
"""Seconds for which an answer is believed, if there is none after it."""


class WaitingRequests:
    """Knows the queues of *pool*'s labels, and asks for them anew every few seconds.

    :param master: the Buildbot master.
    """

    def __init__(self, master: Any, pool: str) -> None:
        self._master = master
        self._pool = pool
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
        by_priority = await self._master.db.pool.do(unclaimed)
        queues = {
            name: reduce(operator.add, queues.values()) for name, queues in by_priority.items()
        }
        self._last = by_label(queues, self._labels(queues))
        self._asked_at = time.monotonic()
        self._trouble = False

    def _cannot_ask(self, failure: Failure) -> None:
        if not self._trouble:
            log.failure("the database does not tell which requests wait", failure)
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
