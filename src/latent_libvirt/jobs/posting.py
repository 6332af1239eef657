# SPDX-License-Identifier: GPL-2.0-only
"""POST of a callback to a receiver that may answer anything, or without an end."""

from __future__ import annotations

from io import BytesIO
from typing import Any, Final, NoReturn

from hyperlink import EncodedURL
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, FileBodyProducer
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

TIMEOUT: Final = 30.0
"""Seconds that a receiver has for its answer."""

LARGEST_ANSWER: Final = 64 * 2**10
"""Bytes of an answer that are read, its head included. Twisted bounds a line of a head, and not the
number of lines."""


class AnswerError(Exception):
    """There is no answer, or none that can be read; the text says why, on one line."""


async def post(url: str, body: bytes, head: dict[str, str], *, reactor: Any) -> int:
    """Send *body*; return the status of the answer.

    Redirections are not followed: they may lead to where nobody has allowed it.

    A body that is longer than :data:`LARGEST_ANSWER` is cut, and the status counts.

    :raises AnswerError: there is no whole answer within :data:`TIMEOUT`, or its head is too long.
    """
    bounds = _Bounds(reactor)
    agent = Agent.usingEndpointFactory(reactor, bounds)
    headers = Headers({name: [value] for name, value in head.items()})
    going = Deferred.fromCoroutine(_post(agent, on_the_wire(url), headers, body))
    try:
        return await going.addTimeout(TIMEOUT, reactor, _late)
    except AnswerError:
        raise
    except Exception as error:
        if bounds.has_exceeded:
            raise AnswerError(f"the answer is longer than {LARGEST_ANSWER >> 10} KiB") from None
        raise AnswerError(_in_words(error)) from error


async def _post(agent: Agent, url: bytes, headers: Headers, body: bytes) -> int:
    producer: Any = FileBodyProducer(BytesIO(body))
    answer: Any = await agent.request(b"POST", url, headers, producer)
    reading = _Reading()
    answer.deliverBody(reading)
    await reading.ended
    return int(answer.code)


def _late(_result: object, seconds: float) -> NoReturn:
    """Say so, with whatever the request has ended by: Twisted has several errors for that.

    :raises AnswerError: always.
    """
    raise AnswerError(f"there was no whole answer within {seconds:g} s")


def on_the_wire(url: str) -> bytes:
    """Return a URL as HTTP has it: in ASCII. An IPv6 address stays as it is."""
    parsed = EncodedURL.from_text(url)
    if ":" not in parsed.host:
        return parsed.to_uri().to_text().encode("ascii")
    rest = parsed.replace(host="address").to_uri()
    return rest.replace(host=parsed.host).to_text().encode("ascii")


def _in_words(error: Exception) -> str:
    """Return why there is no answer, from inside Twisted's failures of its parts."""
    for reason in getattr(error, "reasons", None) or ():
        return _in_words(reason.value)
    return f"{type(error).__name__}: {error}"


class _Reading(Protocol):
    """Reads a body to its end, and keeps nothing of it."""

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred(lambda _cancelled: self._leave())

    def _leave(self) -> None:
        transport: Any = self.transport
        transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        if not self.ended.called:
            self.ended.callback(None)


class _BoundedConnection(ProtocolWrapper):
    """Connection that is cut after so many bytes."""

    _received = 0

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's
        self._received += len(data)
        if self._received <= LARGEST_ANSWER:
            super().dataReceived(data)
        else:
            factory: Any = self.factory
            factory.bounds.has_exceeded = True
            transport: Any = self.transport
            transport.abortConnection()


class _BoundedConnections(WrappingFactory):
    protocol = _BoundedConnection
    noisy = False

    def __init__(self, factory: Factory, bounds: _Bounds) -> None:
        super().__init__(factory)
        self.bounds = bounds


@implementer(IStreamClientEndpoint)
class _BoundedEndpoint:
    def __init__(self, endpoint: Any, bounds: _Bounds) -> None:
        self._endpoint = endpoint
        self._bounds = bounds

    def connect(self, factory: Factory) -> Deferred[Any]:
        connecting: Deferred[Any] = self._endpoint.connect(
            _BoundedConnections(factory, self._bounds)
        )
        return connecting.addCallback(lambda wrapper: wrapper.wrappedProtocol)


@implementer(IAgentEndpointFactory)
class _Bounds:
    """Endpoints of one request.

    :ivar has_exceeded: whether its answer was cut.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._policy = BrowserLikePolicyForHTTPS()
        self.has_exceeded = False

    def endpointForURI(self, uri: Any) -> _BoundedEndpoint:  # noqa: N802 - Twisted's
        """Return the endpoint of a URL."""
        endpoint: Any = HostnameEndpoint(self._reactor, uri.host, uri.port)
        if uri.scheme == b"https":
            endpoint = wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), endpoint)
        return _BoundedEndpoint(endpoint, self)
