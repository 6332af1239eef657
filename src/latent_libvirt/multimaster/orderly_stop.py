# SPDX-License-Identifier: GPL-2.0-only
"""How a master stops that is told to: its builds finish, or others run them; none is cancelled.

Buildbot's answer to SIGTERM interrupts all steps, which makes their builds CANCELLED for good
(#6029). Here SIGTERM means: claim nothing more, let builds finish until a deadline, hand over what
still runs. A second SIGTERM hands over at once. SIGKILL is another matter (``burial.py``).
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, Final

from buildbot.util.service import BuildbotService
from twisted.internet.defer import Deferred
from twisted.logger import Logger

log = Logger()

NAME: Final = "latent_libvirt.orderly_stop"
AGAIN_AFTER: Final = 5.0  # seconds until builds that are still there are handed over once more
REASON: Final = "its master stops"  # what the web UI shows of a build that was handed over


class OrderlyStop(BuildbotService):
    """Takes SIGTERM's place."""

    name: str = NAME

    def checkConfig(self, within: float) -> None:
        """Take the configuration.

        :param within: seconds that builds have to finish.
        """
        self._within = within
        self._stopping = False
        self._hand_over_call: Any = None

    def reconfigService(self, within: float) -> None:
        """Take another deadline; it counts from the next SIGTERM on."""
        self._within = within

    def startService(self) -> Deferred[None]:
        """Listen to SIGTERM once Buildbot has begun to."""
        # Buildbot holds this lock until its own handler is in place.
        self.master.initLock.run(self._listen)
        started: Deferred[None] = super().startService()
        return started

    def _listen(self) -> None:
        before = signal.getsignal(signal.SIGTERM)
        assert callable(before)
        self._buildbots_own: Callable[..., Any] = before
        signal.signal(signal.SIGTERM, lambda *_: self._in_reactor(self.stop_master))

    def _in_reactor(self, what: Callable[[], None]) -> None:
        self.master.reactor.callFromThread(what)

    def stop_master(self) -> None:
        """Stop the master when its builds have finished; the second time, at once."""
        if self._stopping:
            self._hand_over()
            return
        self._stopping = True
        log.info(
            "told to stop: nothing new is claimed, {builds} builds have {within:g} s to finish",
            builds=len(self._builds()),
            within=self._within,
        )
        self._hand_over_in(self._within)
        Deferred.fromCoroutine(self._stop()).addErrback(
            lambda failure: log.failure("the master cannot stop in good order", failure)
        )

    async def _stop(self) -> None:
        # Builds that wait for what they have triggered may still start that, or would never end.
        await self.master.botmaster.cleanShutdown(quickMode=False, stopReactor=False)
        self._hand_over_call.cancel()
        self._buildbots_own(signal.SIGTERM, None)

    def _hand_over_in(self, seconds: float) -> None:
        self._hand_over_call = self.master.reactor.callLater(seconds, self._hand_over)

    def _hand_over(self) -> None:
        """End all builds so that they become RETRY; other masters claim them at once."""
        if self._hand_over_call.active():
            self._hand_over_call.cancel()
        self._hand_over_in(AGAIN_AFTER)
        self.master.botmaster.brd.distribute_only_waited_childs = False
        for build in self._builds():
            log.info("{build} is handed over to other masters", build=build)
            hand_over(build)

    def _builds(self) -> list[Any]:
        builders = self.master.botmaster.builders.values()
        return [build for builder in builders for build in builder.building]


def hand_over(build: Any) -> None:
    """End a build as if its worker had been lost: the one end that makes it RETRY in any phase."""
    build.stopped_reason = REASON
    worker_for_builder = build.workerforbuilder
    if worker_for_builder is None or worker_for_builder.worker is None:
        return  # it ends by itself
    worker = worker_for_builder.worker
    if build.conn is not None:
        build.lostRemote()
    worker_for_builder.abortPingIfAny()
    worker_for_builder.insubstantiate_if_needed()
    if worker.conn is not None:
        worker.conn.loseConnection()
