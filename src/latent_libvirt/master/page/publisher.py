# SPDX-License-Identifier: GPL-2.0-only
"""The publisher of a pool: it sends what has changed to the masters that show it.

While no page is open anywhere it does nothing at all. Else it compares the pool with what it sent
last, twice a second, and less often if that is much work: it takes at most a 25th of the time.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger

from latent_libvirt.master.page import topics
from latent_libvirt.master.page.delta import Delta, delta, messages, settled
from latent_libvirt.timers import cancel, passed

if TYPE_CHECKING:
    from latent_libvirt.master.page.rows import Rows

log = Logger()

INTERVAL: Final = 0.5
"""Seconds between two looks at the pool."""

SHARE: Final = 25
"""How many times longer than a look the pause after it is, at least."""

SIGN_OF_LIFE: Final = 10.0
"""Seconds after which a message is sent although nothing has changed."""

WATCHED_FOR: Final = 45.0
"""Seconds for which a master that has open pages is believed to have them still."""


class Publisher:
    """Publishes the pool called *pool*.

    :param look: returns the pool's rows at this moment.
    :param stopwatch: a clock that measures how much work that is, in seconds.
    """

    def __init__(
        self,
        master: Any,
        pool: str,
        look: Callable[[], Rows],
        *,
        stopwatch: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._master = master
        self._pool = pool
        self._look = look
        self._stopwatch = stopwatch
        self._reactor = master.reactor
        self._incarnation = secrets.token_hex(8)
        self._number = 0
        self._sent: Rows = {}
        self._sent_at = float("-inf")
        self._watched_until = 0.0
        self._next: Any = None
        self._subscription: Any = None

    async def start(self) -> None:
        """Begin to listen for masters with open pages."""
        self._subscription = await self._master.mq.startConsuming(self._watched, topics.watch(None))

    async def stop(self) -> None:
        """Tell the pages that the pool has stopped, and publish nothing more."""
        if self._subscription is not None:
            await maybeDeferred(self._subscription.stopConsuming)
            self._subscription = None
        if self._is_publishing:
            self._cancel()
            self._send({"stopped": True, **Delta(set={}, drop={})})

    @property
    def _is_publishing(self) -> bool:
        return self._next is not None

    def _watched(self, _topic: Any, message: Any) -> None:
        """Publish for a while; all of it, if a master asks for that or nobody looked before."""
        self._watched_until = passed(self._reactor) + WATCHED_FOR
        if not self._is_publishing or (isinstance(message, dict) and message.get("all")):
            self._cancel()
            self._sent = {}
            self._next = self._reactor.callLater(0, self._publish)

    def _cancel(self) -> None:
        following, self._next = self._next, None
        cancel(following)

    def _publish(self) -> None:
        began = self._stopwatch()
        try:
            self._send_changes()
        except Exception:  # noqa: BLE001 - a mistake here costs a page, never a build
            log.failure("pool {pool}: its page cannot be brought up to date", pool=self._pool)
        took = self._stopwatch() - began
        if passed(self._reactor) >= self._watched_until:
            self._next, self._sent = None, {}
            return
        self._next = self._reactor.callLater(max(INTERVAL, SHARE * took), self._publish)

    def _send_changes(self) -> None:
        rows = settled(self._sent, self._look())
        change = delta(self._sent, rows)
        is_first = not self._sent
        if not (change["set"] or change["drop"]) and not self._is_silent:
            return
        for message in messages(change):
            self._send({"first": is_first, **message})
            is_first = False
        self._sent = rows

    @property
    def _is_silent(self) -> bool:
        return passed(self._reactor) - self._sent_at >= SIGN_OF_LIFE

    def _send(self, message: dict[str, Any]) -> None:
        self._number += 1
        self._sent_at = passed(self._reactor)
        head = {
            "pool": self._pool,
            "master": str(self._master.name),
            "incarnation": self._incarnation,
            "number": self._number,
        }
        self._master.mq.produce(topics.pools(self._master.masterid), head | message)
