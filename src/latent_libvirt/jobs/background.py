# SPDX-License-Identifier: GPL-2.0-only
"""Repeated work of a master for jobs: callbacks, and cancellations that have not worked yet.

Each master that serves jobs does it, so that one is enough; the database keeps them from doing the
same twice.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from latent_libvirt.deferreds import in_background
from latent_libvirt.jobs.cancellation import Repeats

if TYPE_CHECKING:
    from latent_libvirt.jobs.callbacks import Callbacks

log = Logger()

INTERVAL = 5.0
"""Seconds between two looks into the database."""


class BackgroundWork:
    """Does what is due, every few seconds and whenever a job has ended.

    Cancellations and callbacks wait for nothing of each other.
    """

    def __init__(self, master: Any, callbacks: Callbacks) -> None:
        self._master = master
        self._callbacks = callbacks
        self._repeats = Repeats(master)
        self._cancelling = _Work(master, self._repeats.say)
        self._sending = _Work(master, callbacks.send)
        callbacks.ended = self._sending.do
        self._consumer: Any = None

    async def start(self) -> None:
        """Begin."""
        await self._repeats.say(at_once=True)
        self._consumer = await self._master.mq.startConsuming(
            lambda _key, _message: self._sending.do(), ("buildsets", None, "complete")
        )
        self._cancelling.start()
        self._sending.start()

    async def stop(self) -> None:
        """End; return when nothing is being done any more."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await maybeDeferred(consumer.stopConsuming)  # Buildbot's simple one returns nothing
        await self._cancelling.stop()
        await self._sending.stop()
        await self._callbacks.stop()


class _Work:
    """Does one thing, never twice at a time; who asks while it is being done gets one more."""

    def __init__(self, master: Any, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._work = work
        self._one_at_a_time = DeferredLock()
        self._is_wanted = False
        self._looking = LoopingCall(self.do)
        self._looking.clock = master.reactor

    def start(self) -> None:
        self._looking.start(INTERVAL)

    async def stop(self) -> None:
        if self._looking.running:
            self._looking.stop()
        await self._one_at_a_time.run(lambda: None)

    def do(self) -> Deferred[None]:
        """Do it; never fails."""
        return in_background(self._do(), "jobs: work in the background failed")

    async def _do(self) -> None:
        if self._is_wanted:
            return
        self._is_wanted = True
        async with self._one_at_a_time:
            self._is_wanted = False
            await self._work()
