# SPDX-License-Identifier: GPL-2.0-only
"""The stop of a master in good order: its builds finish or run again, and none is cancelled.

Buildbot's answer to SIGTERM interrupts all steps, which makes their builds CANCELLED for good
(#6029). Here SIGTERM means: claim nothing more, let builds finish until a deadline, let what still
runs be RETRY. One of several masters hands it over to the others, a single one runs it again when
it is back. A second SIGTERM does not wait. What SIGKILL leaves is freed by other masters
(``multimaster/failover.py``).
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, Final
from weakref import WeakKeyDictionary

from buildbot.process.results import RETRY
from buildbot.util.service import BuildbotService
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from latent_libvirt.deferreds import in_background
from latent_libvirt.master import build_ends

log = Logger()

NAME: Final = "latent_libvirt.master.graceful_stop"
AGAIN_AFTER: Final = 5.0  # seconds until builds that are still there are stopped once more
REASON: Final = "its master stops"  # what the web UI shows of a build that was stopped

_stops: WeakKeyDictionary[Any, Stop] = WeakKeyDictionary()
"""Those of the masters of this process that have one."""


class OrderlyStop(BuildbotService):
    """The orderly stop of one of several masters, as a service that its configuration names."""

    name: str = NAME

    def checkConfig(self, within: float) -> None:
        """Take the configuration.

        :param within: seconds that builds have to finish.
        """
        self._within = within

    def reconfigService(self, within: float) -> None:
        """Take another deadline; it counts from the next SIGTERM on."""
        self._within = within

    def startService(self) -> Deferred[None]:
        """Listen to SIGTERM once Buildbot has begun to."""
        stop_in_order(self.master, lambda: self._within, comes_first=True)
        started: Deferred[None] = super().startService()
        return started


def stop_in_order(master: Any, within: Callable[[], float], *, comes_first: bool = False) -> None:
    """Let *master* stop in good order.

    :param within: returns the seconds that builds have to finish.
    :param comes_first: whether this deadline comes before one that others have asked for.
    """
    build_ends.install()
    stop = _stops.get(master)
    if stop is None:
        _stops[master] = stop = Stop(master, within)
        # Buildbot holds this lock until its own handler is in place.
        master.initLock.run(stop.listen)
    elif comes_first:
        stop.within = within


class Stop:
    """Takes SIGTERM's place."""

    def __init__(self, master: Any, within: Callable[[], float]) -> None:
        self._master = master
        self.within = within
        self._is_stopping = False
        self._retry_call: Any = None
        self._buildbots_own: Callable[..., Any] | None = None

    def listen(self) -> None:
        """Listen to SIGTERM, if Buildbot does."""
        before = signal.getsignal(signal.SIGTERM)
        if callable(before):
            self._buildbots_own = before
            signal.signal(signal.SIGTERM, lambda *_: self._in_reactor(self.stop_master))

    def _in_reactor(self, what: Callable[[], None]) -> None:
        self._master.reactor.callFromThread(what)

    def stop_master(self) -> None:
        """Stop the master when its builds have finished; the second time, at once."""
        if self._is_stopping:
            self._retry_builds()
            return
        self._is_stopping = True
        within = self.within()
        log.info(
            "stopping: nothing new is claimed, {builds} builds have {within:g} s to finish",
            builds=len(self._builds()),
            within=within,
        )
        self._retry_builds_in(within)
        in_background(self._stop(), "the master cannot stop in good order")

    async def _stop(self) -> None:
        # Builds that wait for what they have triggered may still start that, or would never end.
        await self._master.botmaster.cleanShutdown(quickMode=False, stopReactor=False)
        while self._builds():  # a stop that was asked for before, in Buildbot's words, waits too
            await deferLater(self._master.reactor, 0.2, lambda: None)
        self._retry_call.cancel()
        if self._buildbots_own is not None:
            self._buildbots_own(signal.SIGTERM, None)

    def _retry_builds_in(self, seconds: float) -> None:
        self._retry_call = self._master.reactor.callLater(seconds, self._retry_builds)

    def _retry_builds(self) -> None:
        """End all builds so that they become RETRY: they run again, and not here."""
        if self._retry_call.active():
            self._retry_call.cancel()
        self._retry_builds_in(AGAIN_AFTER)
        self._claim_nothing()
        for build in self._builds():
            log.info("{build} is RETRY, for another master", build=build)
            assign(build)

    def _claim_nothing(self) -> None:
        """Let the distributor rest: it would claim those builds again."""
        distributor = self._master.botmaster.brd
        distributor.distribute_only_waited_childs = False
        if distributor.parent is not None:
            in_background(distributor.disownServiceParent(), "the distributor goes on")

    def _builds(self) -> list[Any]:
        builders = self._master.botmaster.builders.values()
        return [build for builder in builders for build in builder.building]


def assign(build: Any) -> None:
    """End a build as if its worker had been lost, so that it is RETRY unless it was cancelled."""
    worker_for_builder = build.workerforbuilder
    if worker_for_builder is None or worker_for_builder.worker is None:
        return  # it ends on its own
    build_ends.decide(build, RETRY)
    build.stopped_reason = REASON
    build_ends.cut_off(build, REASON, is_fault=False)
