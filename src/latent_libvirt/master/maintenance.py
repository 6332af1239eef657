# SPDX-License-Identifier: GPL-2.0-only
"""Maintenance of a pool: builders are woken, spares started, states saved, images looked for.

Jobs come first: spares are started a moment after room has appeared, when Buildbot has given it to
the jobs that waited for it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.task import CooperativeTask, Cooperator, LoopingCall
from twisted.logger import Logger

from latent_libvirt.deferreds import in_background, repeat

if TYPE_CHECKING:
    from latent_libvirt.pool.vm_pool import VmPool

log = Logger()

TIDY_AFTER = 1.0
"""Seconds from a change of room until spares are started in it."""

INTERVAL = 5.0
"""Seconds between two looks at the clock: which spares are wanted, which hosts are tried again.

What is frozen is noted then, too.
"""

WAKE_INTERVAL = 60.0
"""Seconds after which builders look for room although none is known to have appeared."""

IMAGE_INTERVAL = 60.0
"""Seconds between two looks for newer images."""


class Maintenance:
    """Maintains *pool*, and wakes the builders of *botmaster*."""

    def __init__(self, pool: VmPool, *, botmaster: Any, reactor: Any) -> None:
        self._pool = pool
        self._botmaster = botmaster
        self._reactor = reactor
        self._waking: Any = None
        self._tidying: Any = None
        self._steps: CooperativeTask[Iterator[None]] | None = None
        self._cooperator = Cooperator(
            scheduler=lambda step: self._reactor.callLater(0, step),
            terminationPredicateFactory=lambda: lambda: True,  # one step in each turn
        )
        self._in_backoff: frozenset[str] = frozenset()
        self._loops: list[LoopingCall] = []

    def start(self) -> None:
        """Begin."""
        self._loops = [
            self._repeat(self._look_at_the_clock, INTERVAL, "the pool cannot be tidied"),
            self._repeat(self._wake_workers, WAKE_INTERVAL, "builders cannot be woken"),
            self._repeat(self._pool.image_check.run, IMAGE_INTERVAL, "images cannot be looked for"),
        ]

    def _repeat(self, work: Callable[[], object], interval: float, what: str) -> LoopingCall:
        return repeat(work, every=interval, what=what, reactor=self._reactor)

    def stop(self) -> None:
        """Do nothing more."""
        for loop in self._loops:
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
        """Let Buildbot try what can start. It would try only the worker whose VM has gone."""
        self._waking = None
        for name in builders_to_wake(self._pool, self._botmaster.builders):
            self._botmaster.maybeStartBuildsForBuilder(name)

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
            ("saved states", self._pool.state_saver.tidy),
        ):
            try:
                yield from tidy()
            except Exception:  # noqa: BLE001
                log.failure("the {what} cannot be tidied", what=what)
        self._steps = None

    def _look_at_the_clock(self) -> None:
        self._pool.frozen_notes.look()
        in_background(self._pool.image_check.look(), "images cannot be looked for")
        labels = self._pool.host_backoff.labels().items()
        pairs = {f"{label} on {host}" for label, hosts in labels for host in hosts}
        host_backoff = frozenset({*self._pool.host_backoff.hosts(), *pairs})
        if host_backoff != self._in_backoff:
            self._in_backoff = host_backoff
            self._pool.hosts_changed()
        elif self._tidying is None:
            self._tidy()


def builders_to_wake(pool: VmPool, builders: Mapping[str, Any]) -> list[str]:
    """Return the names, sorted, of the builders that may start a build in a VM of *pool*.

    Each try makes Buildbot ask its database for the builder's waiting requests, so builders that
    can start nothing are left alone.
    """
    may_have_room = functools.cache(pool.admission.may_have_room)
    return sorted(
        name
        for name, builder in builders.items()
        if any(
            getattr(wfb.worker, "pool_name", None) == pool.name
            and wfb.worker.may_start(may_have_room)
            for wfb in builder.workers
        )
    )
