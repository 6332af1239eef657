# SPDX-License-Identifier: GPL-2.0-only
"""The one connection to a host's libvirt: kept alive, and made again when it breaks.

Calls run in a few threads of the connection's own, never on the reactor's, so that a host that
does not answer holds up nothing but itself. What is called, and what its results mean, is not
decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar
from weakref import WeakSet

import libvirt
from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from latent_libvirt.backoff import Backoff
from latent_libvirt.errors import HostError, LatentLibvirtError
from latent_libvirt.host.events import NullEvents, reported
from latent_libvirt.host.libvirtd import (
    event_loop,
    opening,
)
from latent_libvirt.host.libvirtd.answers import name_of
from latent_libvirt.host.libvirtd.call_threads import Calls

if TYPE_CHECKING:
    from latent_libvirt.host.events import HostEvents, Operation

log = Logger()

P = ParamSpec("P")
T = TypeVar("T")

CALL_TIMEOUT = 60.0
"""Seconds that a call may take unless its caller knows better."""

TIMEOUTS: Mapping[Operation, float] = {
    "freeze": 3600.0,
    "thaw": 600.0,
    "measure_one": 3.0,
    "picture": 15.0,
}
"""Seconds that calls may take which write or read all memory of a VM, or hold up its end."""

NO_ANSWER = "no answer within"
"""How the details of the error begin that a call raises which takes longer."""

KEEPALIVE_INTERVAL = 5
KEEPALIVE_COUNT = 3
"""A host that says nothing for ``interval * (count + 1)`` seconds is taken for gone."""

_CLOSE_TIMEOUT = 5.0
"""Seconds that a connection may take to close before it is left to itself."""

_BACKOFF = Backoff(first=0.3, longest=30.0)


class Listener(Protocol):
    """Who wants to know what becomes of a connection; called on the reactor's thread."""

    def connected(self) -> None:
        """Note that the connection stands, for the first time or again."""

    def disconnected(self, reason: str) -> None:
        """Note that the connection is lost; it is being made again."""

    def domain_event(self, name: str, event: int, detail: int) -> None:
        """Record a lifecycle event (``virDomainEventType``) of the domain called *name*."""


class Connection:
    """A connection to *uri* that heals itself.

    :param host: the host's name in the configuration, for messages.
    :param uri: a libvirt URI, local or remote.
    :param events: who wants to know of its calls and losses.
    """

    def __init__(
        self,
        host: str,
        uri: str,
        *,
        listener: Listener,
        reactor: Any,
        events: HostEvents | None = None,
    ) -> None:
        self.host = host
        self.uri = uri
        self._listener = listener
        self._events = events or NullEvents()
        self._reactor = reactor
        self._calls = self._new_calls()
        self._connection: libvirt.virConnect | None = None
        self._stillborn: WeakSet[libvirt.virConnect] = WeakSet()
        self._missed_beats = 0
        self._pulse = self._new_pulse()
        self._maintenance: Deferred[None] | None = None
        self._failures = 0
        self._hung = False
        self._last_reason = ""
        self._unexpected: set[str] = set()

    @property
    def is_up(self) -> bool:
        """Whether calls can be made at this moment."""
        return self._connection is not None

    @property
    def last_reason(self) -> str:
        """Why the connection was last lost or could not be made; empty if it never failed."""
        return self._last_reason

    def start(self) -> None:
        """Begin to connect, in the background, for as long as it takes."""
        event_loop.ensure_running()
        self._calls.start()
        self._connect_in_background()

    async def stop(self) -> None:
        """Close the connection and end its threads."""
        if self._maintenance is not None:
            self._maintenance.cancel()
        connection, self._connection = self._connection, None
        if connection is None:
            self._calls.give_up()
            return
        self._pulse.stop()
        closed: Deferred[None] = Deferred()
        self._calls.give_up(partial(self._close, connection, closed))
        with suppress(defer.TimeoutError):
            await closed.addTimeout(_CLOSE_TIMEOUT, self._reactor)

    async def call(
        self,
        operation: Operation,
        what: str,
        function: Callable[Concatenate[libvirt.virConnect, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run ``function(connection, *args)`` in a thread and return its result.

        :param operation: what the call is for, by which calls are counted.
        :param what: the call in words, to complete "host NAME could not ...".
        :raises HostError: if there is no connection, libvirt refuses, no answer came within
            :data:`CALL_TIMEOUT` or the time of :data:`TIMEOUTS`, or the answer is not as
            expected. The call itself cannot be taken back then: what it may still bring into being
            is found by the sweep.
        """
        connection = self._connection
        if connection is None:
            raise self._error(what, f"there is no connection to {self.uri}: {self._last_reason}")
        calls = self._calls
        deferred = calls.run(function, connection, *args, **kwargs)
        seconds = TIMEOUTS.get(operation, CALL_TIMEOUT)
        deferred.addTimeout(seconds, self._reactor)
        try:
            with reported(self._events, self.host, operation):
                return await deferred
        except CancelledError as error:
            if calls.given_up:
                raise self._error(what, f"the connection was lost: {self._last_reason}") from error
            raise
        except defer.TimeoutError as error:
            raise self._error(what, f"{NO_ANSWER} {seconds:g} s") from error
        except libvirt.libvirtError as error:
            raise self._error(what, str(error)) from error
        except LatentLibvirtError:
            raise
        except Exception as error:
            # Whatever a host has said to cause this, it is not to stop what is done with others.
            self._log_once(what)
            details = f"unexpected: {error!r}; the log of the master has the traceback"
            raise self._error(what, details) from error

    def _log_once(self, what: str) -> None:
        """Log the exception that is being handled, unless the same call has had one before."""
        if what not in self._unexpected:
            self._unexpected.add(what)
            log.failure("host {host} could not {what}", host=self.host, what=what)

    def another(self) -> libvirt.virConnect:
        """Open one more connection to the same libvirt, for what may hold one up. Blocks.

        :raises libvirt.libvirtError: if that is not possible.
        :raises HostError: if the host does not answer in :data:`opening.OPEN_TIMEOUT` seconds.
        """
        try:
            connection = opening.within(opening.OPEN_TIMEOUT, partial(opening.opened, self.uri))
        except TimeoutError as error:
            raise self._error(f"be reached at {self.uri}", str(error)) from error
        opening.keep_alive(connection, KEEPALIVE_INTERVAL, KEEPALIVE_COUNT)
        return connection

    def _error(self, what: str, details: str) -> HostError:
        return HostError(f"host {self.host} could not {what}", details=details)

    def _new_calls(self) -> Calls:
        return Calls(f"libvirt {self.host}", reactor=self._reactor)

    def _close(self, connection: libvirt.virConnect, closed: Deferred[None]) -> None:
        opening.close(connection)
        self._reactor.callFromThread(closed.callback, None)

    def _connect_in_background(self) -> None:
        self._maintenance = Deferred.fromCoroutine(self._connect_until_up())
        self._maintenance.addErrback(self._connecting_ended)

    def _connecting_ended(self, failure: Any) -> None:
        if failure.check(CancelledError) is None:
            log.failure("host {host}: gave up connecting", failure=failure, host=self.host)

    async def _connect_until_up(self) -> None:
        while self._connection is None:
            trouble = await self._try_to_connect()
            if trouble:
                self._note_failure(trouble)
                await deferLater(self._reactor, _BACKOFF.after(self._failures), lambda: None)

    async def _try_to_connect(self) -> str:
        """Return why there is no connection now; nothing if there is."""
        seconds = opening.OPEN_TIMEOUT
        if self._hung:
            trouble = await self._calls.run(opening.rehearse, self.uri, seconds=seconds)
            if trouble:
                return trouble
        try:
            self._adopt(await self._calls.run(opening.within, seconds, self._open))
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, connecting is tried again
            self._hung = isinstance(error, TimeoutError)
            return str(error) or repr(error)
        self._hung = False
        return ""

    def _adopt(self, connection: libvirt.virConnect) -> None:
        if connection in self._stillborn:
            self._calls.run(opening.close, connection)
            return
        log.info("host {host}: connected to {uri}", host=self.host, uri=self.uri)
        self._failures = 0
        self._connection = connection
        self._missed_beats = 0
        self._pulse = self._new_pulse()
        self._pulse.start(KEEPALIVE_INTERVAL, now=False)
        self._listener.connected()

    def _new_pulse(self) -> LoopingCall:
        pulse = LoopingCall(lambda: Deferred.fromCoroutine(self._feel_pulse()))
        pulse.clock = self._reactor
        return pulse

    async def _feel_pulse(self) -> None:
        """Ask the host for a sign of life.

        libvirt could do that on its own (``virConnectSetKeepAlive``), but when 9.0 gives up a
        connection that several threads wait for, it wakes only the first of them, reports nothing,
        and crashes the process when the host speaks again.
        """
        connection = self._connection
        answer = self._calls.run_aside(libvirt.virConnect.getLibVersion, connection)
        answer.addTimeout(KEEPALIVE_INTERVAL * KEEPALIVE_COUNT, self._reactor)
        try:
            await answer
            self._missed_beats = 0
        except defer.TimeoutError:
            self._lost_unless_replaced(connection, "no sign of life")
        except libvirt.libvirtError as error:
            # libvirt reports a closed connection in a moment, but not one that it reported before
            # the connection was adopted.
            self._missed_beats += 1
            if self._missed_beats > 1:
                self._lost_unless_replaced(connection, str(error))
        except Exception:  # noqa: BLE001 - it has answered, and is to be asked again
            self._log_once("give a sign of life")

    def _lost_unless_replaced(self, connection: libvirt.virConnect, reason: str) -> None:
        if connection is self._connection:
            self._lost(connection, reason)

    def _open(self) -> libvirt.virConnect:
        connection = opening.opened(self.uri)
        connection.registerCloseCallback(self._closed, connection)
        connection.domainEventRegisterAny(
            None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._lifecycle, connection
        )
        return connection

    def _note_failure(self, reason: str) -> None:
        self._failures += 1
        if reason != self._last_reason:
            self._last_reason = reason
            log.warn(
                "host {host}: cannot connect to {uri}: {reason}; trying again",
                host=self.host,
                uri=self.uri,
                reason=reason,
            )

    # The next two are called on libvirt's event loop thread.

    def _closed(self, connection: libvirt.virConnect, reason: int, _opaque: object) -> None:
        self._reactor.callFromThread(self._lost, connection, _CLOSE_REASONS.get(reason, "unknown"))

    def _lifecycle(
        self, _: object, domain: libvirt.virDomain, event: int, detail: int, connection: object
    ) -> None:
        name = name_of(domain)
        if name is not None:
            self._reactor.callFromThread(self._heard, connection, name, event, detail)

    def _heard(self, connection: object, name: str, event: int, detail: int) -> None:
        # One that was lost and speaks again does not count: there is another.
        if connection is self._connection:
            self._listener.domain_event(name, event, detail)

    def _lost(self, connection: libvirt.virConnect, reason: str) -> None:
        if connection is not self._connection:
            # Either it was given up before, or it is about to be adopted and must not be.
            self._stillborn.add(connection)
            return
        log.warn("host {host}: connection lost ({reason})", host=self.host, reason=reason)
        self._last_reason = reason
        self._connection = None
        self._pulse.stop()
        self._give_up_calls(connection)
        # First: whatever comes of telling others, the host is connected to again.
        self._connect_in_background()
        self._events.connection_lost(self.host)
        self._listener.disconnected(reason)

    def _give_up_calls(self, connection: libvirt.virConnect) -> None:
        calls, self._calls = self._calls, self._new_calls()
        self._calls.start()
        # Not before the last call has returned: libvirt would free what that call still uses.
        calls.give_up(partial(opening.close, connection))


_CLOSE_REASONS = {
    libvirt.VIR_CONNECT_CLOSE_REASON_ERROR: "I/O error",
    libvirt.VIR_CONNECT_CLOSE_REASON_EOF: "libvirtd closed it",
    libvirt.VIR_CONNECT_CLOSE_REASON_KEEPALIVE: "no sign of life",
    libvirt.VIR_CONNECT_CLOSE_REASON_CLIENT: "closed here",
}
