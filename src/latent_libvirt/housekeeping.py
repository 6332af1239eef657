# SPDX-License-Identifier: GPL-2.0-only
"""What a pool does by itself: it tells those that wait for room, looks after its spares, and seals.

Jobs come first: spares are started a moment after room has appeared, when Buildbot has given it to
the jobs that waited for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.task import CooperativeTask, Cooperator, LoopingCall
from twisted.logger import Logger

from latent_libvirt import wake_ups
from latent_libvirt.config import PoolConfig
from latent_libvirt.desk import Desk
from latent_libvirt.sealer import Sealer
from latent_libvirt.set_aside import SetAside
from latent_libvirt.spares import Spares

log = Logger()

TIDY_AFTER = 1.0
"""Seconds from a change of room until spares are started in it."""

INTERVAL = 5.0
"""Seconds between two looks at the clock: which spares are wanted, which hosts are tried again."""

IMAGE_INTERVAL = 60.0
"""Seconds between two looks for newer images."""


class Kept(Protocol):
    """The pool, as far as it matters here."""

    name: str
    config: PoolConfig
    master: Any
    set_aside: SetAside
    spares: Spares
    sealer: Sealer
    desk: Desk

    def hosts_changed(self) -> None:
        """Work out what can be used, and tell those that wait."""


class Housekeeping:
    """Keeps house for *pool*."""

    def __init__(self, pool: Any) -> None:
        self._pool: Kept = pool
        self._reactor = pool.master.reactor
        self._waking: Any = None
        self._tidying: Any = None
        self._steps: CooperativeTask[Iterator[None]] | None = None
        self._cooperator = Cooperator(
            scheduler=lambda step: self._reactor.callLater(0, step),
            terminationPredicateFactory=lambda: lambda: True,  # one step in each turn
        )
        self._set_aside: frozenset[str] = frozenset()
        self._loops = [
            (LoopingCall(self._look_at_the_clock), INTERVAL),
            (LoopingCall(self._look_for_images), IMAGE_INTERVAL),
        ]

    def start(self) -> None:
        """Begin."""
        for loop, interval in self._loops:
            loop.clock = self._reactor
            ended = loop.start(interval, now=False)
            ended.addErrback(lambda failure: log.failure("housekeeping has ended", failure))

    def stop(self) -> None:
        """Do nothing more."""
        for loop, _interval in self._loops:
            if loop.running:
                loop.stop()
        if self._steps is not None:
            self._steps.stop()
        for call in (self._waking, self._tidying):
            if call is not None and call.active():
                call.cancel()

    def wake_soon(self) -> None:
        """Let workers look for builds in the next turn, and spares for room a little later."""
        if self._waking is None:
            self._waking = self._reactor.callLater(0, self._wake_workers)
        if self._tidying is None:
            self._tidying = self._reactor.callLater(TIDY_AFTER, self._tidy)

    def _wake_workers(self) -> None:
        """Let Buildbot try what can start: by itself it tries only the worker whose VM has gone."""
        self._waking = None
        botmaster = self._pool.master.botmaster
        for name in wake_ups.builders(self._pool.desk, self._pool.name, botmaster.builders):
            botmaster.maybeStartBuildsForBuilder(name)

    def _tidy(self) -> None:
        """Tidy everything, step by step: there may be thousands of spares, and of hosts."""
        self._tidying = None
        if self._steps is None:
            self._steps = self._cooperator.cooperate(self._tidy_all())
        else:
            self._tidying = self._reactor.callLater(TIDY_AFTER, self._tidy)

    def _tidy_all(self) -> Iterator[None]:
        # Jobs still run without spares, and without anything to be resumed from.
        for what, tidy in (
            ("spares", self._pool.spares.tidy),
            ("sealed states", self._pool.sealer.tidy),
        ):
            try:
                yield from tidy(self._pool.config)
            except Exception:  # noqa: BLE001
                log.failure("the {what} cannot be tidied", what=what)
        self._steps = None

    def _look_at_the_clock(self) -> None:
        labels = self._pool.set_aside.labels().items()
        pairs = {f"{label} on {host}" for label, hosts in labels for host in hosts}
        set_aside = frozenset({*self._pool.set_aside.hosts(), *pairs})
        if set_aside != self._set_aside:
            self._set_aside = set_aside
            self._pool.hosts_changed()
        elif self._tidying is None:
            self._tidy()

    def _look_for_images(self) -> Deferred[None]:
        looked = Deferred.fromCoroutine(self._check_images())
        # A LoopingCall would not look again.
        looked.addErrback(lambda failure: log.failure("images cannot be looked for", failure))
        return looked

    async def _check_images(self) -> None:
        await self._pool.spares.check_images(self._pool.config)
        await self._pool.sealer.check_images(self._pool.config)
