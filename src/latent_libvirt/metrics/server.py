# SPDX-License-Identifier: GPL-2.0-only
"""Server of ``GET /metrics`` at the address ``master.metrics`` of ``pool.yaml``.

``collector.py`` and ``instruments.py`` have the metrics.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from prometheus_client.twisted import MetricsResource
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from twisted.web.pages import notFound
from twisted.web.resource import Resource
from twisted.web.server import Site

from latent_libvirt.deferreds import in_background
from latent_libvirt.jobs.web.answers import Answer
from latent_libvirt.jobs.web.early import EarlyRequest
from latent_libvirt.metrics.collector import PoolCollector

if TYPE_CHECKING:
    from collections.abc import Mapping

    from latent_libvirt.metrics.families import Registry
    from latent_libvirt.status.pool import PoolStatus

log = Logger()

TRY_AGAIN_AFTER = 30.0
"""Seconds after which an address that is taken is tried again."""


class MetricsServer:
    """Serves what is in *registry*, and the gauges of what *status* returns.

    The status is taken on the reactor's thread. The text is made of it in one of the reactor's
    thread pool (prometheus_client's resource is a WSGI application): that takes longer.
    """

    def __init__(
        self, registry: Registry, status: Callable[[], PoolStatus], *, reactor: Any
    ) -> None:
        collector = PoolCollector()
        registry.register(collector)
        metrics: Any = _Metrics(MetricsResource(registry), lambda: collector.take(status()))
        root = _Root()
        root.putChild(b"metrics", metrics)
        requests: Any = partial(EarlyRequest, gates=[_NoBodies()])
        self._site = _QuietSite(root, requestFactory=requests, reactor=reactor)
        self._reactor = reactor
        self._one_at_a_time = DeferredLock()
        self._wanted: str | None = None
        self._address: str | None = None
        self._port: Any = None
        self._next_try: Any = None

    def serve(self, address: str | None) -> Deferred[None]:
        """Listen at *address*, and nowhere else; ``None`` is nowhere at all.

        An address that is taken is logged, and tried again. Builds do not depend on it.

        :param address: an IP address and a port, as in the pool's configuration.
        """
        self._wanted = address
        return in_background(self._move(), "metrics cannot be served")

    async def stop(self) -> None:
        """Listen no longer."""
        await self.serve(None)

    async def _move(self) -> None:
        async with self._one_at_a_time:
            self._forget_next_try()
            if self._wanted == self._address:
                return
            await self._close()
            if self._wanted is not None:
                await self._listen(self._wanted)

    async def _close(self) -> None:
        port, self._port, self._address = self._port, None, None
        if port is not None:
            await port.stopListening()

    async def _listen(self, address: str) -> None:
        try:
            self._port = await _endpoint(self._reactor, address).listen(self._site)
        except CannotListenError as error:
            log.error(  # noqa: TRY400 - the traceback would say nothing more
                "metrics cannot be served at {address}: {error}; it is tried again every "
                "{seconds:g} s",
                address=address,
                error=str(error.socketError),
                seconds=TRY_AGAIN_AFTER,
            )
            self._next_try = self._reactor.callLater(
                TRY_AGAIN_AFTER, lambda: self.serve(self._wanted)
            )
        else:
            self._address = address
            log.info("metrics are at http://{address}/metrics", address=address)

    def _forget_next_try(self) -> None:
        if self._next_try is not None and self._next_try.active():
            self._next_try.cancel()
        self._next_try = None


class _Root(Resource):
    def getChild(self, path: bytes, request: Any) -> Any:  # noqa: ARG002
        return notFound(message="The metrics are at /metrics.")


class _Metrics(Resource):
    """Takes the status of the pool, then renders *answer*."""

    isLeaf = True

    def __init__(self, answer: Any, look: Callable[[], None]) -> None:
        super().__init__()
        self._answer = answer
        self._look = look

    def render(self, request: Any) -> Any:
        self._look()
        return self._answer.render(request)


class _NoBodies:
    """Refuses what nobody scrapes with, before Twisted stores and parses it."""

    largest = 0

    def minds(self, path: bytes) -> bool:  # noqa: ARG002 - of all paths
        """Whether it is for a path: it is for all."""
        return True

    def refuse(self, request: Any, length: int | None) -> Answer | None:
        """Return why a request is refused; ``None`` if it only asks for something."""
        if request.method not in (b"GET", b"HEAD"):
            return _refusal(405, "Only GET and HEAD can be used here.", {"Allow": "GET, HEAD"})
        return None if length == 0 else self.too_large(request)

    def too_large(self, request: Any) -> Answer:  # noqa: ARG002
        """Return the answer to any body."""
        return _refusal(413, "Nobody reads a body here. The metrics are at GET /metrics.")


def _refusal(status: int, why: str, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, f"{why}\n".encode(), "text/plain; charset=utf-8", headers or {})


class _QuietSite(Site):
    """Writes no line into the master's log whenever Prometheus asks."""

    noisy = False

    def log(self, request: Any) -> None:
        """Say nothing."""


def _endpoint(reactor: Any, address: str) -> Any:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    kind = TCP6ServerEndpoint if ":" in host else TCP4ServerEndpoint
    return kind(reactor, int(port), interface=host)
