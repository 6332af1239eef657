# SPDX-License-Identifier: GPL-2.0-only
"""An address for the job API alone, apart from Buildbot's UI: hidden, or with TLS."""

from __future__ import annotations

from typing import Any

from twisted.internet.endpoints import serverFromString
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from latent_libvirt.jobs.http import as_problem
from latent_libvirt.jobs.problems import nothing_here, too_large

log = Logger()

_IDLE_TIMEOUT = 60
"""Seconds after which a connection that says nothing is closed."""

_PATIENCE = 100
"""How many times as much as it may a client can send before its connection is closed."""


class Listener:
    """Serves ``/jobs`` at an endpoint.

    :param endpoint: a description as Twisted has it, like ``ssl:8443:privateKey=...``.
    :param max_body: bytes; a longer one is refused before it has been read.
    """

    def __init__(self, jobs: Any, endpoint: str, *, max_body: int, reactor: Any) -> None:
        root = _Root()
        root.putChild(b"jobs", jobs)
        self._site = _Site(root, max_body=max_body, reactor=reactor)
        self._endpoint = endpoint
        self._reactor = reactor
        self._port: Any = None

    async def start(self) -> None:
        """Begin to listen.

        :raises CannotListenError: if the address is taken, or not this machine's.
        """
        self._port = await serverFromString(self._reactor, self._endpoint).listen(self._site)
        log.info("jobs are served at {address}", address=self._port.getHost())

    async def stop(self) -> None:
        """Listen no longer."""
        port, self._port = self._port, None
        if port is not None:
            await port.stopListening()


class _Root(Resource):
    def getChild(self, path: bytes, request: Any) -> Any:  # noqa: ARG002
        return _Nothing()


class _Nothing(Resource):
    isLeaf = True

    def render(self, request: Any) -> Any:
        as_problem(nothing_here()).send(request)
        return NOT_DONE_YET


class _Request(Request):
    """Refuses a body that is too large as soon as that is known."""

    _received = 0
    _refused = False

    def gotLength(self, length: int | None) -> None:
        """Take note of how much is announced."""
        super().gotLength(length)
        self._refuse_if_larger(length or 0)

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a part of the body; of one that is too large, nothing more."""
        self._received += len(data)
        self._refuse_if_larger(self._received)
        if not self._refused:
            super().handleContentChunk(data)
        elif self._received > _PATIENCE * self._max_body:
            self.channel.loseConnection()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Answer, or be done with one that was refused."""
        if self._refused:
            self.channel.loseConnection()
        else:
            super().requestReceived(command, path, version)

    @property
    def _max_body(self) -> int:
        channel: Any = self.channel
        return int(channel.site.max_body)

    def _refuse_if_larger(self, length: int) -> None:
        """Say so at once, and let the client finish what it sends: it would not read it before."""
        if length <= self._max_body or self._refused:
            return
        self._refused = True
        answer = as_problem(too_large(self._max_body))
        head = (
            "HTTP/1.1 413 Content Too Large",
            "Connection: close",
            f"Content-Type: {answer.kind}",
            f"Content-Length: {len(answer.body)}",
        )
        transport: Any = self.channel.transport
        transport.write("\r\n".join((*head, "", "")).encode() + answer.body)


class _Site(Site):
    requestFactory = _Request
    noisy = False

    def __init__(self, root: Any, *, max_body: int, reactor: Any) -> None:
        super().__init__(root, timeout=_IDLE_TIMEOUT, reactor=reactor)
        self.max_body = max_body

    def log(self, request: Any) -> None:
        """Say nothing: the master's log is for other things."""
