# SPDX-License-Identifier: GPL-2.0-only
"""Guests and destinations that abuse HTTP: what they say stays bounded, and reaches nobody else.

The guest's connection and the way to destinations are those of ``test_connection.py``.
"""

from __future__ import annotations

import re
from typing import Any

import h11
import pytest

from latent_libvirt.host.proxy.connection import IDLE_TIMEOUT, REQUEST_TIMEOUT
from latent_libvirt.host.proxy.headers import MOST_HEADERS
from latent_libvirt.host.proxy.record import Fetch
from proxied import Assembled

PIECE = 64 * 1024
"""Bytes that a connection of a guest may have in the master unread."""

MUCH = 10_000_000

GET = b"GET http://files.example/a HTTP/1.1\r\nHost: files.example\r\n\r\n"
POST = b"POST http://files.example/ HTTP/1.1\r\nHost: files.example\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


class Bench(Assembled):
    """A connection through which much is said."""

    def say(self, data: bytes) -> int:
        """Say *data* in pieces until the connection is closed; return how much was taken."""
        for at in range(0, len(data), PIECE):
            if self.guest.is_closed:
                return at
            self.guest.incoming += data[at : at + PIECE]
            self.connection.has_data()
        return len(data)

    def answer(self, data: bytes) -> int:
        """Let the destination say *data* in pieces while it can; return how much was taken."""
        far = self.resolver.far[-1]
        transport: Any = far.transport
        for at in range(0, len(data), PIECE):
            if transport.disconnected:
                return at
            far.dataReceived(data[at : at + PIECE])
        return len(data)

    @property
    def asked(self) -> bytes:
        """What the destinations were asked."""
        transports: list[Any] = [far.transport for far in self.resolver.far]
        return b"".join(transport.value() for transport in transports)

    @property
    def status(self) -> int:
        return int(self.guest.outgoing.split()[1])

    @property
    def fetch(self) -> Fetch:
        (fetch,) = self.record.fetches
        return fetch


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize(
    "head",
    [
        b"GET http://files.example/" + b"a" * MUCH,
        b"GET http://files.example/ HTTP/1.1\r\nHost: x\r\nA: " + b"b" * MUCH,
        b"GET http://files.example/ HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * (MUCH // 6),
        b"GET http://files.example/ HTTP/1.1\r\nHost: x\r\nA: b\r\n" + b" c\r\n" * (MUCH // 4),
        b"\r\n" * (MUCH // 2),
    ],
    ids=["a URL", "a header", "headers", "a folded header", "empty lines"],
)
def test_a_head_without_end_is_refused_when_its_bound_is_reached(bench: Bench, head: bytes) -> None:
    assert bench.say(head) <= MOST_HEADERS + PIECE
    assert bench.status in (400, 431)
    assert bench.resolver.asked == []


LONG = b"x" * (MOST_HEADERS - 1000)


@pytest.mark.parametrize(
    "head",
    [
        LONG + b" http://files.example/ HTTP/1.1\r\nHost: x\r\n\r\n",
        LONG + b" http://other.example/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://files.example/ HTTP/1.1\r\nHost: x\r\n" + LONG + b"\x00: y\r\n\r\n",
        b"GET http://other.example/ HTTP/1.1\r\nHost: x\r\nA: b\r\n " + LONG + b"\x00\r\n\r\n",
        b"GET " + b"\xff" * len(LONG) + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://other.example/" + LONG + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["a method", "a refused method", "a name", "a folded value", "no URL", "a URL"],
)
def test_what_is_recorded_of_a_request_is_short_whatever_is_long_in_it(
    bench: Bench, head: bytes
) -> None:
    bench.say(head)
    if bench.resolver.far:
        bench.answer(b"no HTTP: " + LONG + b"\r\n\r\n")

    assert bench.guest.is_closed
    assert len(str(bench.fetch)) < 3000


@pytest.mark.parametrize(
    "head",
    [
        b"GET http://me:secret@files.example/ HTTP/1.1 x\r\nHost: x\r\n\r\n",
        b"GET http://files.example/ HTTP/1.1\r\nHost: x\r\nAuthorization: secret\x00\r\n\r\n",
        b"GET http://files.example/ HTTP/1.1\r\nHost: x\r\nA: b\r\n secret\x00\r\n\r\n",
    ],
)
def test_no_line_of_a_malformed_request_is_recorded(bench: Bench, head: bytes) -> None:
    bench.say(head)

    assert bench.status == 400
    assert "secret" not in str(bench.fetch)
    assert bench.fetch.why.startswith("the request is malformed: illegal ")


@pytest.mark.parametrize(
    "rest",
    [b"5;" + b"x" * MUCH, b"0\r\nA: " + b"b" * MUCH, b"0\r\n" + b"A: b\r\n" * (MUCH // 6)],
    ids=["extension", "trailer", "trailers"],
)
def test_a_chunked_body_without_end_in_its_frame_is_refused(bench: Bench, rest: bytes) -> None:
    taken = bench.say(POST + CHUNKED + rest)
    assert taken <= MOST_HEADERS + 2 * PIECE
    assert bench.guest.is_closed
    assert len(bench.asked) < 1000


def test_trailers_and_extensions_of_chunks_reach_nobody(bench: Bench) -> None:
    bench.say(POST + CHUNKED + b"3;a=b\r\nabc\r\n0\r\nHost: other.example\r\nX: y\r\n\r\n")
    bench.answer(OK + CHUNKED + b"2;c=d\r\nok\r\n0\r\nSet-Cookie: a=b\r\n\r\n")

    assert bench.asked.endswith(b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    assert bench.guest.outgoing.endswith(b"\r\n\r\n2\r\nok\r\n0\r\n\r\n")
    assert b"other.example" not in bench.asked
    assert b"Set-Cookie" not in bench.guest.outgoing


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"Content-Length: 3, 4\r\n\r\nabcd",
        b"Content-Length: +3\r\n\r\nabc",
        b"Content-Length: -1\r\n\r\n",
        b"Content-Length: 0x3\r\n\r\nabc",
        b"Content-Length: \r\n\r\n",
        b"Content-Length : 3\r\n\r\nabc",
        b"Content-Length: " + b"9" * 30 + b"\r\n\r\n",
        b"Transfer-Encoding: identity\r\n\r\n",
        b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        b"A\0: b\r\n\r\n",
        b"A: b\0\r\n\r\n",
        b": b\r\n\r\n",
    ],
)
def test_a_request_whose_end_two_servers_could_see_in_two_places_is_refused(
    bench: Bench, headers: bytes
) -> None:
    bench.say(POST + headers)
    assert bench.status in (400, 501)
    assert bench.guest.is_closed
    assert bench.resolver.asked == []


SMUGGLED = b"GET http://files.example/smuggled HTTP/1.1\r\nHost: files.example\r\n\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % (len(SMUGGLED) + 5),
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 0\r\nConnection: content-length\r\n\r\n",
        b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_what_follows_a_request_gets_to_no_destination_as_a_part_of_it(
    bench: Bench, headers: bytes
) -> None:
    bench.say(POST + headers + SMUGGLED)

    assert b"smuggled" not in bench.asked
    server = h11.Connection(h11.SERVER)
    server.receive_data(bench.asked)
    events = [server.next_event(), server.next_event()]
    assert [type(event) for event in events] == [h11.Request, h11.EndOfMessage]
    assert server.trailing_data == (b"", False)
    named = [name for name, _ in events[0].headers]  # type: ignore[union-attr]
    assert not {b"content-length", b"transfer-encoding"} <= set(named)


def test_a_body_without_its_length_gets_no_further(bench: Bench) -> None:
    bench.say(POST + b"Connection: content-length\r\nContent-Length: 3\r\n\r\nabc")

    assert b"abc" not in bench.asked
    assert bench.guest.is_closed


def test_a_header_cannot_end_a_line_of_the_request(bench: Bench) -> None:
    bench.say(POST + b"A: b\nX-Injected: c\r\nB: d\re\r\n\r\n")

    if bench.resolver.far:
        assert re.search(rb"(?<!\r)\n|\r(?!\n)", bench.asked) is None
    else:
        assert bench.status == 400


def test_a_response_that_is_longer_than_it_says_is_cut_there(bench: Bench) -> None:
    bench.say(GET)
    bench.answer(OK + b"Content-Length: 5\r\n\r\nhello, " + OK + b"\r\nworld" + b"x" * MUCH)

    assert bench.guest.outgoing == OK + b"Content-Length: 5\r\n\r\nhello"
    assert (bench.fetch.received, bench.fetch.why) == (5, "")
    transport: Any = bench.resolver.far[-1].transport
    assert transport.disconnected


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"Content-Length: 3, 4\r\n\r\nabcd",
        b"Content-Length: -1\r\n\r\n",
        b"Transfer-Encoding: gzip\r\n\r\n",
        b"Transfer-Encoding: chunked, gzip\r\n\r\n",
        b"A: " + b"b" * MUCH,
        b"A: b\r\n" * (MUCH // 6),
    ],
)
def test_a_malformed_head_of_a_response_is_status_502(bench: Bench, headers: bytes) -> None:
    bench.say(GET)
    assert bench.answer(OK + headers) <= MOST_HEADERS + 2 * PIECE
    assert bench.status == 502
    assert bench.fetch.why


@pytest.mark.parametrize(
    "rest", [b"z\r\n", b"-1\r\n", b"1;" + b"x" * MUCH, b"0\r\nA: " + b"b" * MUCH]
)
def test_a_malformed_body_of_a_response_ends_the_connection_without_a_digest(
    bench: Bench, rest: bytes
) -> None:
    bench.say(GET)
    assert bench.answer(OK + CHUNKED + b"2\r\nok\r\n" + rest) <= MOST_HEADERS + 2 * PIECE
    assert bench.guest.is_closed
    assert not bench.guest.outgoing.endswith(b"0\r\n\r\n")
    assert (bench.fetch.sha256, bool(bench.fetch.why)) == ("", True)


def test_a_response_before_the_request_has_ended_ends_the_connection_after_it(bench: Bench) -> None:
    bench.say(POST + b"Content-Length: 1000\r\n\r\nabc")
    bench.answer(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno")
    bench.say(GET)

    assert bench.guest.outgoing.endswith(b"\r\n\r\nno")
    assert bench.guest.is_closed
    assert len(bench.resolver.far) == 1


def test_responses_before_the_response_do_no_harm(bench: Bench) -> None:
    bench.say(GET)
    bench.answer(b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" * 1000)
    bench.answer(OK + b"Content-Length: 2\r\n\r\nok")

    assert bench.guest.outgoing == OK + b"Content-Length: 2\r\n\r\nok"


def test_a_switch_of_protocols_is_no_way_out(bench: Bench) -> None:
    bench.say(GET.replace(b"\r\n\r\n", b"\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n"))
    assert b"pgrade" not in bench.asked
    bench.answer(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: tcp\r\n\r\n")
    bench.say(b"anything")

    assert b"anything" not in bench.asked
    assert b"101" not in bench.guest.outgoing


def test_a_request_that_comes_byte_by_byte_has_a_deadline(bench: Bench) -> None:
    closed = []
    for byte in POST:
        bench.say(bytes([byte]))
        bench.clock.advance(REQUEST_TIMEOUT / 50)
        closed.append(bench.guest.is_closed)

    assert closed[:49] == [False] * 49
    assert closed[50]
    assert bench.resolver.asked == []
    assert bench.clock.getDelayedCalls() == []


def test_thousands_of_connections_that_say_nothing_leave_nothing() -> None:
    benches = [Bench() for _ in range(3000)]
    for each in benches:
        each.say(b"GET")
        each.clock.advance(max(REQUEST_TIMEOUT, IDLE_TIMEOUT))

    assert all(each.guest.is_closed for each in benches)
    assert not any(each.clock.getDelayedCalls() for each in benches)
    assert not any(each.connection._exchange for each in benches)
