# SPDX-License-Identifier: GPL-2.0-only
"""Heartbeats: a service that registers a master, writes its heartbeat and looks at the others.

What is written down is in ``membership.py``; who is missed is failed over by ``failover.py``. A
master that finds itself dead among the members leaves at once: others have what was its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import sqlalchemy as sa
from buildbot.util.service import BuildbotService
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from latent_libvirt import timers
from latent_libvirt.deferreds import repeat
from latent_libvirt.master.peers import HEARTBEAT
from latent_libvirt.master.running import running
from latent_libvirt.multimaster import membership
from latent_libvirt.multimaster.database import (
    INCARNATION,
    make_resilient,
)
from latent_libvirt.multimaster.failover import FailoverMonitor
from latent_libvirt.multimaster.fencing import Fence
from latent_libvirt.multimaster.process_exit import leave
from latent_libvirt.multimaster.standby import Takeover

if TYPE_CHECKING:
    from latent_libvirt.multimaster.database import (
        Connector,
    )
    from latent_libvirt.multimaster.failure_detector import FailureTimeouts
    from latent_libvirt.multimaster.membership import Look

log = Logger()
T = TypeVar("T")

INTERVAL: Final = 1.0  # seconds

DEAD_WHY: Final = (
    "It had said nothing for too long: it was frozen, overloaded, or cut off from the database. "
    "Its builds run on other masters by now, and nothing that it does counts any more."
)
CUT_OFF_WHY: Final = (
    "Other masters may have taken over its builds by now; it is configured not to go on."
)


class Heartbeat(BuildbotService):
    """Keeps this master among the members, and looks after the others on it."""

    name: str = HEARTBEAT

    def checkConfig(
        self,
        connector: Connector,
        timeouts: FailureTimeouts,
        *,
        leave_when_cut_off: float | None = None,
        stands_by: bool = False,
    ) -> None:
        """Take the configuration; a change of it counts from the next start on.

        :param connector: makes connections to the database.
        :param timeouts: for how long others may be silent.
        :param leave_when_cut_off: seconds without the database after which this master leaves. By
            default it waits for it: a restart of the database would cost all builds otherwise.
        :param stands_by: whether its schedulers are to take over from those of a dead one.
        """
        self._connector = connector
        self._timeouts = timeouts
        self._leave_when_cut_off = leave_when_cut_off
        self._stands_by = stands_by
        self._line: Line | None = None
        self._loops: list[LoopingCall] = []
        self._last_look: Look | None = None

    def reconfigService(self, *_arguments: object, **_keywords: object) -> None:
        """Leave everything as it is."""

    def startService(self) -> Deferred[None]:
        """Register; from then on nothing is written that a dead master must not write."""
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        timers.install(self.master.reactor)
        await super().startService()
        await self._register()
        self._line = Line(self._connector, self.master.reactor)
        self._failover = FailoverMonitor(self.master, self._timeouts)
        self._takeover = Takeover(self.master) if self._stands_by else None
        self._last_beat = time.monotonic()
        self._loops = [self._repeat(self._beat), self._repeat(self._mind_the_database)]

    async def _register(self) -> None:
        engine = self.master.db.pool.engine
        make_resilient(engine)
        await self.master.db.pool.do_with_transaction(membership.create)
        await self.master.db.pool.do_with_transaction(
            membership.register, self.master.masterid, INCARNATION
        )
        Fence(self.master.masterid, INCARNATION, lost=self._is_dead).install(engine)

    def stopService(self) -> Deferred[None]:
        """Sign off."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for loop in self._loops:
            loop.stop()
        if self._line is not None:
            await self._sign_off(self._line)
        await super().stopService()

    async def _sign_off(self, line: Line) -> None:
        try:
            await line.ask(membership.sign_off, self.master.masterid, INCARNATION)
        except sa.exc.SQLAlchemyError as error:
            log.warn("this master could not sign off: {error}", error=str(error))
        await line.close()

    async def names_of_the_dead(self) -> list[str]:
        """Return the names of the masters that were declared dead and have not come back."""
        names: list[str] = await self.master.db.pool.do(membership.names_of_the_dead)
        return names

    def _repeat(self, what: Callable[[], Any]) -> LoopingCall:
        failed = "a look at other masters failed"
        return repeat(what, every=INTERVAL, what=failed, reactor=self.master.reactor, now=True)

    async def _beat(self) -> None:
        assert self._line is not None
        began = time.monotonic()
        try:
            lives, look = await self._line.ask(_beat_and_look, self.master.masterid)
        except sa.exc.SQLAlchemyError as error:
            log.warn("no heartbeat: {error}", error=str(error.__cause__ or error).strip())
            return
        if not lives:
            self._is_dead()
        self._last_beat = began
        before, self._last_look = self._last_look, look
        await self._failover.see_to(look)
        await self._see_changes(before, look)

    async def _see_changes(self, before: Look | None, look: Look) -> None:
        """Use what others have left; messages about it may be lost, as when a router is away."""
        if before is not None and _gone(look) - _gone(before):
            self.master.botmaster.maybeStartBuildsForAllBuilders()
            for pool in running.values():
                pool.sweep_soon()
            if self._takeover is not None:
                await self._takeover.take_over()

    def _mind_the_database(self) -> None:
        limit = self._leave_when_cut_off
        if limit is not None and time.monotonic() - self._last_beat > limit:
            leave(f"The database has not answered for {limit:g} s", why=CUT_OFF_WHY)

    def _is_dead(self) -> None:
        leave("Another master has declared this one dead", why=DEAD_WHY)


class Line:
    """The heartbeat's separate connection, in a separate thread: nothing else can hold it up."""

    def __init__(self, connector: Connector, reactor: Any) -> None:
        self._reactor = reactor
        self._engine = sa.create_engine(
            connector.url, creator=connector.at_once, poolclass=sa.pool.NullPool
        )
        self._connection: sa.Connection | None = None
        self._thread = ThreadPool(minthreads=1, maxthreads=1, name="heartbeat")
        self._thread.start()

    async def ask(self, question: Callable[..., T], *arguments: object) -> T:
        """Return what *question* answers, in a transaction; it takes the connection first.

        :raises SQLAlchemyError: the database cannot be reached; the next time may be better.
        """
        asked = deferToThreadPool(self._reactor, self._thread, self._ask, question, *arguments)
        answer: T = await asked
        return answer

    def _ask(self, question: Callable[..., T], *arguments: object) -> T:
        if self._connection is None:
            self._connection = self._engine.connect()
        try:
            with self._connection.begin():
                return question(self._connection, *arguments)
        except BaseException:
            self._hang_up()
            raise

    async def close(self) -> None:
        """Hang up for good."""
        await deferToThreadPool(self._reactor, self._thread, self._hang_up)
        self._thread.stop()

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()


def _beat_and_look(connection: sa.Connection, masterid: int) -> tuple[bool, Look]:
    return membership.beat(connection, masterid, INCARNATION), membership.look(connection)


def _gone(look: Look) -> set[tuple[int, str]]:
    return {(entry.masterid, entry.life) for entry in look.entries if entry.state != "here"}
