# SPDX-License-Identifier: GPL-2.0-only
"""One connection of a guest to the forward proxy: requests of HTTP, or one ``CONNECT``.

h11 reads and writes HTTP at both ends, within bounds. What is allowed is in ``policy.py``. A
destination gets a connection for each request, so an answer can only belong to one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import h11
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from latent_libvirt.deferreds import in_background
from latent_libvirt.host.proxy import headers
from latent_libvirt.host.proxy.cache_use import use_of
from latent_libvirt.host.proxy.far_end import FarEnd
from latent_libvirt.host.proxy.headers import MOST_HEADERS
from latent_libvirt.host.proxy.policy import RefusedError
from latent_libvirt.host.proxy.record import (
    LONGEST_METHOD,
    LONGEST_REASON,
    LONGEST_URL,
    Fetch,
    shortened,
)
from latent_libvirt.host.proxy.resolver import UnreachableError

if TYPE_CHECKING:
    from latent_libvirt.host.channels.network_link import GuestConnection
    from latent_libvirt.host.proxy.cache_use import CacheUse
    from latent_libvirt.host.proxy.file_cache import FileCache
    from latent_libvirt.host.proxy.policy import Policy
    from latent_libvirt.host.proxy.record import Record
    from latent_libvirt.host.proxy.resolver import Resolver
    from latent_libvirt.host.proxy.stored_end import StoredEnd

log = Logger()

UNSENT: Final = 64 * 1024
"""Bytes for a guest that wait, above which no more is read from the destination."""

REQUEST_TIMEOUT: Final = 60.0
"""Seconds that a guest may take for the head of a request."""

LAST_BYTES: Final = 2.0
"""Seconds in which the last bytes that a guest has sent through a ``CONNECT`` may still go out."""

IDLE_TIMEOUT: Final = 300.0
"""Seconds without a byte in either direction after which a connection ends."""


@dataclass(frozen=True)
class Proxy:
    """What all connections of one VM share.

    :param cache: that all VMs of the master share; ``None`` for no cache.
    """

    policy: Policy
    record: Record
    resolver: Resolver
    reactor: Any
    cache: FileCache | None = None

    def connection(self, guest: GuestConnection) -> ProxyConnection:
        """Return what speaks at the master's end of a connection."""
        return ProxyConnection(guest, self)


class _Exchange:
    """One request and its response."""

    def __init__(self, method: str, url: str) -> None:
        self.method = shortened(method, LONGEST_METHOD)
        self.url = shortened(url, LONGEST_URL)
        self.far: FarEnd | StoredEnd | None = None
        self.http: h11.Connection | None = h11.Connection(h11.CLIENT, MOST_HEADERS)
        self.cache: CacheUse | None = None
        self.stored: CacheUse | None = None  # what the response comes from
        self.address = ""
        self.status = 0
        self.received = 0
        self.sent = 0
        self.digest = hashlib.sha256()

    def fetch(self, *, complete: bool, why: str) -> Fetch:
        """Return what is to be recorded of it."""
        has_digest = complete and self.http is not None and self.method != "HEAD"
        return Fetch(
            method=self.method,
            target=self.url,
            status=self.status,
            address=self.address,
            received=self.received,
            sent=self.sent,
            sha256=self.digest.hexdigest() if has_digest else "",
            is_cached=self.stored is not None,
            why=shortened(why, LONGEST_REASON)
            or ("" if complete else "the connection ended before the response did"),
        )


class ProxyConnection:
    """One connection.

    :param guest: reads from the guest, and writes to it.
    """

    def __init__(self, guest: GuestConnection, proxy: Proxy) -> None:
        self._guest = guest
        self._proxy = proxy
        self._http = h11.Connection(h11.SERVER, MOST_HEADERS)
        self._exchange: _Exchange | None = None
        self._is_tunnel = False
        self._is_connecting = False
        self._is_over = False
        self._was_active = False
        self._alarm = proxy.reactor.callLater(REQUEST_TIMEOUT, self._look)

    # What the guest's connection says.

    def has_data(self) -> None:
        """Read what has come, as far as it can be used now."""
        try:
            self._read()
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint, f"the request is malformed: {_fault(error)}")
        except h11.LocalProtocolError as error:
            log.debug("forward proxy: {error}", error=str(error))
            self._end()
        except Exception:  # noqa: BLE001 - no guest is to find one that harms others
            log.failure("forward proxy: unexpected")
            self._end()

    def drained(self) -> None:
        """Read on from the destination when the guest has read."""
        exchange = self._exchange
        if exchange is not None and exchange.far is not None and self._guest.unsent <= UNSENT // 2:
            exchange.far.hold(held=False)

    def lost(self) -> None:
        """End: the guest has gone."""
        self._end()

    def _look(self) -> None:
        """End the connection if nothing has happened since the last look."""
        if self._was_active and self._exchange is not None:
            self._was_active = False
            self._alarm = self._proxy.reactor.callLater(IDLE_TIMEOUT, self._look)
        else:
            self._end()

    def _wait_for(self, seconds: float) -> None:
        self._was_active = False
        if self._alarm.active():
            self._alarm.reset(seconds)

    # From the guest to the destination.

    def _read(self) -> None:
        while not (self._is_over or self._is_connecting or self._is_held()):
            if self._is_tunnel:
                data = self._guest.read()
                if not data:
                    return
                self._to_tunnel(data)
                continue
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                data = self._guest.read()
                if not data:
                    return
                self._was_active = True
                self._http.receive_data(data)
            elif event is h11.PAUSED:
                return
            else:
                self._take(event)

    def _is_held(self) -> bool:
        far = None if self._exchange is None else self._exchange.far
        return far is not None and far.is_full

    def _take(self, event: Any) -> None:
        exchange = self._exchange
        if isinstance(event, h11.Request):
            self._begin(event)
        elif isinstance(event, h11.ConnectionClosed):
            self._end()
        elif exchange is not None and exchange.far is not None and exchange.http is not None:
            if isinstance(event, h11.Data):
                exchange.sent += len(event.data)
            elif isinstance(event, h11.EndOfMessage):
                event = h11.EndOfMessage()  # trailers are not looked at as headers are
            exchange.far.write(exchange.http.send(event) or b"")

    def _to_tunnel(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is not None and exchange.far is not None:
            self._was_active = True
            exchange.sent += len(data)
            exchange.far.write(data)

    def _begin(self, request: h11.Request) -> None:
        method = request.method.decode("ascii", errors="replace")
        self._exchange = _Exchange(method, headers.shown(request))
        self._wait_for(IDLE_TIMEOUT)
        try:
            target = headers.target(request)
            self._exchange = _Exchange(method, target.url)
            destination = self._proxy.policy.destination(target.name, target.port)
        except RefusedError as error:
            self._refuse(403, str(error))
            return
        self._is_connecting = True
        going = self._connect(self._exchange, request, target, destination)
        in_background(Deferred.fromCoroutine(going), "forward proxy")

    async def _connect(
        self, exchange: _Exchange, request: h11.Request, target: headers.Target, destination: Any
    ) -> None:
        cache = self._proxy.cache
        if cache is not None:
            exchange.cache = use_of(cache, request, target, destination)
        if exchange.cache is not None and await exchange.cache.look():
            self._is_connecting = False
            self._answer_from_cache(exchange, exchange.cache)
            return
        far = await self._reach(exchange, destination)
        if far is None:
            return
        exchange.far = far
        self._is_connecting = False
        if request.method == b"CONNECT":
            self._begin_tunnel(exchange)
        else:
            self._ask(exchange, headers.forwarded(request, target))
        self.has_data()

    async def _reach(self, exchange: _Exchange, destination: Any) -> FarEnd | None:
        """Connect to the destination; return ``None`` if there is nobody to connect any more."""
        far = FarEnd(self)
        try:
            exchange.address = await self._proxy.resolver.connect(destination, far)
        except RefusedError as error:
            self._refuse(403, str(error))
            return None
        except UnreachableError as error:
            self._refuse(502, str(error))
            return None
        if self._is_over:
            far.drop()
            return None
        return far

    def _ask(self, exchange: _Exchange, request: h11.Request) -> None:
        """Send the guest's request, or that of the cache."""
        if exchange.far is None or exchange.http is None:
            return
        asked = request if exchange.cache is None else exchange.cache.request()
        exchange.far.write(exchange.http.send(asked) or b"")

    def _begin_tunnel(self, exchange: _Exchange) -> None:
        self._http.next_event()  # the end of the request, which has no body
        exchange.http = None
        exchange.status = 200
        self._guest.write(self._http.send(h11.Response(status_code=200, headers=[])) or b"")
        self._is_tunnel = True
        self._to_tunnel(self._http.trailing_data[0])

    # From the destination to the guest.

    def far_received(self, far: FarEnd | StoredEnd, data: bytes) -> None:
        """Pass on what the destination has sent."""
        exchange = self._exchange
        if self._is_over or exchange is None or exchange.far is not far:
            return
        self._was_active = True
        if exchange.http is None:
            exchange.received += len(data)
            self._guest.write(data)
        else:
            self._far_http(exchange, data)
        far.hold(held=self._guest.unsent > UNSENT)

    def far_ended(self, far: FarEnd | StoredEnd) -> None:
        """Note that the destination has ended the connection."""
        exchange = self._exchange
        if self._is_over or exchange is None or exchange.far is not far:
            return
        if exchange.http is None:
            self._done(exchange, complete=True)
            self._guest.close()
            self._end()
        else:
            self._far_http(exchange, b"")

    def far_has_room(self) -> None:
        """Read on from the guest."""
        self.has_data()

    def _far_http(self, exchange: _Exchange, data: bytes) -> None:
        assert exchange.http is not None
        if exchange.cache is not None:
            exchange.cache.received(data)
        try:
            exchange.http.receive_data(data)
            while self._exchange is exchange and self._give(exchange, exchange.http.next_event()):
                pass
        except (h11.RemoteProtocolError, h11.LocalProtocolError) as error:
            self._refuse(502, f"the response is malformed: {_fault(error)}")

    def _give(self, exchange: _Exchange, event: Any) -> bool:
        """Give the guest a part of the response; return whether there may be more."""
        if isinstance(event, h11.InformationalResponse):
            if event.status_code == 100:  # noqa: PLR2004
                self._guest.write(self._http.send(event) or b"")
        elif isinstance(event, h11.Response):
            if self._is_kept(exchange, event):
                return False
            exchange.status = event.status_code
            self._guest.write(self._http.send(headers.returned(event)) or b"")
        elif isinstance(event, h11.Data):
            exchange.received += len(event.data)
            exchange.digest.update(event.data)
            self._guest.write(self._http.send(h11.Data(data=event.data)) or b"")
        elif isinstance(event, h11.EndOfMessage):
            self._guest.write(self._http.send(h11.EndOfMessage()) or b"")
            self._next(exchange)
            return False
        else:
            return False
        return True

    def _is_kept(self, exchange: _Exchange, response: h11.Response) -> bool:
        """Whether the response is in the cache; if it is not, and may be, it is kept."""
        cache = exchange.cache
        if cache is None:
            return False
        if cache.is_confirmed_by(response):
            self._answer_from_cache(exchange, cache)
            return True
        cache.answered(response)
        return False

    def _answer_from_cache(self, exchange: _Exchange, cache: CacheUse) -> None:
        if exchange.far is not None:
            exchange.far.drop()
        exchange.cache, exchange.stored = None, cache
        exchange.http = h11.Connection(h11.CLIENT, MOST_HEADERS)
        exchange.far = cache.stored_end(self)
        exchange.far.write(exchange.http.send(cache.request()) or b"")
        self.has_data()

    def _next(self, exchange: _Exchange) -> None:
        """Be ready for another request, once the response to one has ended."""
        self._done(exchange, complete=True)
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self._wait_for(REQUEST_TIMEOUT)
            self._proxy.reactor.callLater(0, self.has_data)
        else:
            self._guest.close()
            self._end()

    # Ends.

    def _refuse(self, status: int, why: str) -> None:
        """Say why there is no response, if that can be said still, and end."""
        exchange, self._is_connecting = self._exchange, False
        if self._is_over:
            return
        if exchange is None:
            exchange = self._exchange = _Exchange("?", "?")
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            response, body = headers.refusal(status, why)
            self._guest.write(self._http.send(response) or b"")
            if exchange.method != "HEAD":
                self._guest.write(self._http.send(h11.Data(data=body)) or b"")
            exchange.status = status
        self._done(exchange, complete=False, why=why)
        self._guest.close()
        self._end()

    def _done(self, exchange: _Exchange, *, complete: bool, why: str = "") -> None:
        self._exchange = None
        if exchange.cache is not None:
            exchange.cache.end(complete=complete, sha256=exchange.digest.hexdigest())
        if exchange.stored is not None and (complete or why):
            exchange.stored.given(complete=complete, sha256=exchange.digest.hexdigest())
        far = exchange.far
        if far is not None and exchange.http is None:
            far.close()
            self._proxy.reactor.callLater(LAST_BYTES, far.drop)
        elif far is not None:
            far.drop()
        self._proxy.record.add(exchange.fetch(complete=complete, why=why))

    def _end(self) -> None:
        """End all that is left, once."""
        if self._is_over:
            return
        self._is_over = True
        if self._alarm.active():
            self._alarm.cancel()
        if self._exchange is not None:
            # A tunnel has no end but this one.
            self._done(self._exchange, complete=self._exchange.http is None)
        self._guest.close()


def _fault(error: h11.ProtocolError) -> str:
    """Return what is wrong, without the line that h11 repeats: a password may stand in it."""
    return str(error).partition(": b")[0]
