# SPDX-License-Identifier: GPL-2.0-only
"""A callback is posted to real receivers, which answer well, badly, or without an end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from latent_libvirt.jobs import posting
from latent_libvirt.jobs.posting import LARGEST_ANSWER, AnswerError, on_the_wire, post

reactor: Any = the_reactor
HEAD = b"HTTP/1.1 200 OK\r\n"
PIECE = b"X-Piece: " + b"y" * 10_000 + b"\r\n"


class Receiver(Protocol):
    """Answers with what there is, and writes *flood* without an end after it."""

    answer = b""
    flood = b""

    def __init__(self) -> None:
        self.received = b""
        self.written = 0
        self.gone: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's
        if not self.received:
            self._transport.write(self.answer)
            if self.flood:
                self._transport.registerProducer(self, False)
        self.received += data

    @property
    def _transport(self) -> Any:
        return self.transport

    def resumeProducing(self) -> None:
        self.written += len(self.flood)
        self._transport.write(self.flood)

    def stopProducing(self) -> None:
        """Stop: the connection has gone."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gone.callback(None)


Begin = Callable[..., tuple[str, list[Receiver]]]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Return a function that begins a receiver, and returns its URL and its connections."""
    with ExitStack() as stack:

        def begin(
            answer: bytes, flood: bytes = b"", host: str = "127.0.0.1"
        ) -> tuple[str, list[Receiver]]:
            made: list[Receiver] = []

            class Made(Receiver):
                def connectionMade(self) -> None:
                    self.answer, self.flood = answer, flood
                    made.append(self)

            port = reactor.listenTCP(0, Factory.forProtocol(Made), interface=host)
            stack.callback(lambda: pytest_twisted.blockon(port.stopListening()))
            shown = f"[{host}]" if ":" in host else host
            return f"http://{shown}:{port.getHost().port}/told", made

        yield begin


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_receiver_gets_the_body_and_the_status_comes_back(begin: Begin, host: str) -> None:
    url, (made) = begin(b"HTTP/1.1 204 No Content\r\n\r\n", host=host)

    assert await post(url, b"{}", {"webhook-id": "7"}, reactor=reactor) == 204

    (receiver,) = made
    await receiver.gone
    head, _, body = receiver.received.partition(b"\r\n\r\n")
    assert (head.splitlines()[0], body) == (b"POST /told HTTP/1.1", b"{}")
    assert b"webhook-id: 7" in head.lower()
    assert f"host: {url.split('/')[2]}".encode() in head.lower()


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("answer", "flood"),
    [(HEAD, PIECE), (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100)],
    ids=["lines", "more heads"],
)
async def test_a_receiver_whose_head_has_no_end_is_cut(
    begin: Begin, answer: bytes, flood: bytes
) -> None:
    url, made = begin(answer, flood)

    with pytest.raises(AnswerError, match=r"^the answer is longer than 64 KiB$"):
        await post(url, b"{}", {}, reactor=reactor)

    await made[0].gone
    assert made[0].written > LARGEST_ANSWER


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("answer", "flood"),
    [
        (HEAD + b"\r\n", b"y" * 10_000),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\ny\r\n" * 1_000),
    ],
    ids=["body", "chunks"],
)
async def test_a_receiver_whose_body_has_no_end_is_cut_and_its_status_counts(
    begin: Begin, answer: bytes, flood: bytes
) -> None:
    url, made = begin(answer, flood)

    assert await post(url, b"{}", {}, reactor=reactor) == 200

    await made[0].gone
    assert made[0].written > LARGEST_ANSWER


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("answer", [b"nonsense\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n"])
async def test_why_there_is_no_answer_is_said_without_the_parts_of_twisted(
    begin: Begin, answer: bytes
) -> None:
    url, _made = begin(answer)

    with pytest.raises(AnswerError) as raised:
        await post(url, b"{}", {}, reactor=reactor)

    assert "Failure" not in str(raised.value)
    assert "Parse" in str(raised.value)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 2", HEAD, HEAD + b"Content-Length: 9\r\n\r\n"])
async def test_a_receiver_that_does_not_end_its_answer_has_a_deadline(
    begin: Begin, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posting, "TIMEOUT", 0.25)
    url, made = begin(answer)

    with pytest.raises(AnswerError, match=r"^there was no whole answer within 0\.25 s$"):
        await post(url, b"{}", {}, reactor=reactor)

    await made[0].gone


@pytest_twisted.ensureDeferred
async def test_a_call_that_is_ended_early_leaves_no_connection(begin: Begin) -> None:
    url, made = begin(b"")
    going = Deferred.fromCoroutine(post(url, b"{}", {}, reactor=reactor))
    while not made:
        await _a_moment()
    going.cancel()

    with pytest.raises((AnswerError, CancelledError)):
        await going
    await made[0].gone


def _a_moment() -> Deferred[None]:
    moment: Deferred[None] = Deferred()
    reactor.callLater(0.01, moment.callback, None)
    return moment


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://[2001:DB8::1]:8080/a b?ü=1", b"http://[2001:db8::1]:8080/a%20b?%C3%BC=1"),
        ("https://bücher.example/ü", b"https://xn--bcher-kva.example/%C3%BC"),
        ("http://ci.example:80/%41#x", b"http://ci.example/%41#x"),
    ],
)
def test_a_url_goes_out_in_ascii(url: str, expected: bytes) -> None:
    assert on_the_wire(url).lower() == expected.lower()
