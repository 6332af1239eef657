# SPDX-License-Identifier: GPL-2.0-only
"""What a master does for jobs by itself: tells results, and cancels until that has worked.

Each master that serves jobs does it, so that one is enough; the database keeps them from doing the
same twice.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from latent_libvirt.jobs.callbacks import Callbacks
from latent_libvirt.jobs.cancellation import say_again

log = Logger()

INTERVAL = 5.0
"""Seconds between two looks into the database."""


class Chores:
    """Does what is due, every few seconds and whenever a job has ended."""

    def __init__(self, master: Any, callbacks: Callbacks) -> None:
        self._master = master
        self._callbacks = callbacks
        self._one_at_a_time = DeferredLock()
        self._is_wanted = False
        self._looking = LoopingCall(self.do)
        self._looking.clock = master.reactor
        self._consumer: Any = None

    async def start(self) -> None:
        """Begin."""
        self._consumer = await self._master.mq.startConsuming(
            lambda _key, _message: self.do(), ("buildsets", None, "complete")
        )
        self._looking.start(INTERVAL)

    async def stop(self) -> None:
        """End; return when nothing is being done any more."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await maybeDeferred(consumer.stopConsuming)  # Buildbot's simple one returns nothing
        if self._looking.running:
            self._looking.stop()
        await self._one_at_a_time.run(lambda: None)

    def do(self) -> Deferred[None]:
        """Do what is due; never fails."""
        done = Deferred.fromCoroutine(self._do())
        return done.addErrback(lambda failure: log.failure("jobs: chores failed", failure))

    async def _do(self) -> None:
        # Whoever asks while something is being done is served by one more round after it.
        if self._is_wanted:
            return
        self._is_wanted = True
        async with self._one_at_a_time:
            self._is_wanted = False
            await say_again(self._master)
            await self._callbacks.tell()
