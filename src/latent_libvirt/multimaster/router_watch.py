# SPDX-License-Identifier: GPL-2.0-only
"""Watch of the message router, without which a master hears nothing from the others.

Buildbot's masters announce new work to each other by way of the router. At its start a master
waits for the router; one that then has no session with it, or gets no answer from it any more,
leaves (``process_exit.py``), and is started again by its supervisor. That a session which is lost
ends the master as well is in ``patches.py``, for Buildbot itself would cancel all builds.
"""

from __future__ import annotations

import time
from typing import Any, Final
from urllib.parse import urlsplit

from autobahn.wamp.types import PublishOptions
from buildbot.util.service import BuildbotService
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as NoAnswerError
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from latent_libvirt import timers
from latent_libvirt.deferreds import repeat
from latent_libvirt.multimaster import router_login
from latent_libvirt.multimaster.process_exit import leave

log = Logger()

NAME: Final = "latent_libvirt.router_watch"
INTERVAL: Final = 5.0  # seconds between two questions whether the router still answers
ANSWER_WITHIN: Final = 10.0  # seconds
POLL_INTERVAL: Final = 0.5  # seconds between two attempts to reach the router at the start
TOPIC: Final = "org.latent_libvirt.router_watch"  # nobody listens to it

WHY: Final = (
    "Without it a master neither hears of new jobs nor reports their results. The router has "
    "to run at {url}."
)


class RouterWatch(BuildbotService):
    """Watches the session with the router."""

    name: str = NAME

    def checkConfig(self, url: str, timeout: float) -> None:
        """Take the configuration.

        :param url: of the router.
        :param timeout: seconds that the master waits for a session when it starts.
        """
        self._url = url
        self._timeout = timeout
        self._loop: LoopingCall | None = None

    def reconfigService(self, *_arguments: object, **_keywords: object) -> None:
        """Leave everything as it is: Buildbot refuses another router, too."""

    def startService(self) -> Deferred[None]:
        """Hold the master's start up until the router can be reached."""
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        timers.install(self.master.reactor)
        await super().startService()
        self._began = time.monotonic()
        if not router_login.is_wanted():
            log.warn(router_login.UNPROTECTED, url=self._url)
        await self._await_router()
        failed = "the router refuses a message"
        self._loop = repeat(self._look, every=INTERVAL, what=failed, reactor=self.master.reactor)

    def stopService(self) -> Deferred[None]:
        """Watch no more."""
        if self._loop is not None and self._loop.running:
            self._loop.stop()
        stopped: Deferred[None] = super().stopService()
        return stopped

    async def _await_router(self) -> None:
        """Wait until something listens there: Buildbot tries to connect once, and never again."""
        while not await self._is_reachable():
            self._leave_if_late()
            await deferLater(self.master.reactor, POLL_INTERVAL)

    async def _is_reachable(self) -> bool:
        endpoint = HostnameEndpoint(self.master.reactor, *_address(self._url), ANSWER_WITHIN)
        try:
            protocol = await endpoint.connect(_nothing_more)
        except Exception as error:  # noqa: BLE001 - there are many ways not to reach a machine
            log.info("waiting for the router at {url}: {error}", url=self._url, error=error)
            return False
        protocol.transport.loseConnection()
        return True

    def _leave_if_late(self) -> None:
        if time.monotonic() - self._began > self._timeout:
            self._leave(f"There is no session with the router after {self._timeout:g} s")

    async def _look_for_an_answer(self, session: Any) -> None:
        asked = session.publish(TOPIC, options=PublishOptions(acknowledge=True))
        asked.addTimeout(ANSWER_WITHIN, self.master.reactor)
        try:
            await asked
        except NoAnswerError:
            self._leave(f"The router has not answered for {ANSWER_WITHIN:g} s")

    def _look(self) -> Deferred[None] | None:
        session = self.master.wamp.service
        if session is None:
            self._leave_if_late()
            return None
        return Deferred.fromCoroutine(self._look_for_an_answer(session))

    def _leave(self, what: str) -> None:
        leave(what, why=WHY.format(url=self._url))


_nothing_more: Any = Factory.forProtocol(Protocol)
"""To see whether something listens."""


def _address(url: str) -> tuple[bytes, int]:
    parts = urlsplit(url)
    port = parts.port or {"ws": 80, "wss": 443}[parts.scheme]
    return (parts.hostname or "").encode(), port
