# SPDX-License-Identifier: GPL-2.0-only
"""Early stop: a worker may be stopped before its start has ended.

Buildbot 4.3 cannot stop a worker whose start is under way, or was refused by the database.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from buildbot.worker.latent import AbstractLatentWorker
from twisted.internet.defer import Deferred

from latent_libvirt.deferreds import Outcome


class EarlyStop(AbstractLatentWorker):
    """A latent worker that stops once it has begun."""

    workerActionConsumer: Any = None  # Buildbot sets it half-way through the start  # noqa: N815
    _beginning: Outcome | None = None

    def startService(self) -> Deferred[None]:
        """Begin to serve builds."""
        self._beginning = Outcome(self._begin())
        return self._beginning.wait()

    async def _begin(self) -> None:
        await super().startService()

    def stopService(self) -> Deferred[None]:
        """Stop once it has begun. A worker that the database refused has nothing to stop."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._beginning is not None:
            with suppress(Exception):  # who has started it gets that
                await self._beginning.wait()
        if self.workerActionConsumer is not None:
            await super().stopService()
