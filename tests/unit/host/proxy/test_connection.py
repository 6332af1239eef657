# SPDX-License-Identifier: GPL-2.0-only
"""Requests of a guest, and what the destination and the guest get.

The guest's connection and the way to destinations are fakes: what HTTP says is plain logic.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.host.proxy.connection import (
    IDLE_TIMEOUT,
    LAST_BYTES,
    REQUEST_TIMEOUT,
    UNSENT,
)
from latent_libvirt.host.proxy.headers import MOST_HEADERS
from latent_libvirt.host.proxy.policy import RefusedError
from latent_libvirt.host.proxy.record import MOST_FETCHES, Fetch, Record
from latent_libvirt.host.proxy.resolver import UnreachableError
from proxied import SECURE, Assembled


class Bench(Assembled):
    """A connection, and what is said through it."""

    def say(self, data: bytes) -> None:
        self.guest.incoming += data
        self.connection.has_data()

    def asked(self, at: int = -1) -> bytes:
        transport: Any = self.resolver.far[at].transport
        return bytes(transport.value())

    def answer(self, data: bytes) -> None:
        self.resolver.far[-1].dataReceived(data)

    def status(self) -> int:
        return int(self.guest.outgoing.split()[1])

    @property
    def fetch(self) -> Fetch:
        (fetch,) = self.record.fetches
        return fetch


@pytest.fixture
def bench() -> Bench:
    return Bench()


GET = b"GET http://files.example/a?b=c HTTP/1.1\r\nHost: files.example\r\n\r\n"


def test_a_file_is_fetched_and_recorded_with_its_digest(bench: Bench) -> None:
    bench.say(GET)
    bench.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: x\r\n\r\nhello")

    assert bench.asked() == (
        b"GET /a?b=c HTTP/1.1\r\nHost: files.example\r\nConnection: close\r\n\r\n"
    )
    assert bench.guest.outgoing == (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: x\r\n\r\nhello")
    digest = hashlib.sha256(b"hello").hexdigest()
    assert bench.fetch == Fetch(
        "GET", "http://files.example/a?b=c", 200, "192.0.2.7", received=5, sha256=digest
    )


def test_a_body_without_a_length_arrives_in_chunks(bench: Bench) -> None:
    bench.say(GET)
    bench.answer(b"HTTP/1.0 200 OK\r\n\r\nhel")
    bench.answer(b"lo")
    bench.resolver.far[-1].connectionLost()

    assert bench.guest.outgoing.endswith(b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n")
    assert bench.fetch.received == 5


def test_requests_follow_each_other_on_one_connection(bench: Bench) -> None:
    bench.say(GET * 2)
    bench.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")
    bench.resolver.far[0].connectionLost()
    bench.clock.advance(0)
    bench.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2")

    assert len(bench.resolver.far) == len(bench.record.fetches) == 2
    assert bench.guest.outgoing.endswith(b"\r\n\r\n2")
    assert not bench.guest.is_closed


def test_a_body_is_sent_as_it_comes(bench: Bench) -> None:
    head = b"POST http://files.example/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
    bench.say(head + b"Content-Length: 99\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    bench.answer(b"HTTP/1.1 204 No Content\r\n\r\n")

    assert b"Host: files.example\r\n" in bench.asked()
    assert b"content-length" not in bench.asked().lower()
    assert bench.asked().endswith(b"3\r\nabc\r\n0\r\n\r\n")
    assert (bench.fetch.status, bench.fetch.sent) == (204, 3)


def test_what_is_for_the_proxy_does_not_get_to_the_destination(bench: Bench) -> None:
    extra = b"Connection: x-mine\r\nX-Mine: 1\r\nProxy-Authorization: secret\r\nUpgrade: h2c\r\n"
    bench.say(GET.replace(b"Host: files.example\r\n", b"Host: other.example\r\n" + extra))

    assert bench.asked().split(b"\r\n") == [
        b"GET /a?b=c HTTP/1.1",
        b"Host: files.example",
        b"Connection: close",
        b"",
        b"",
    ]


def test_a_tunnel_leads_both_ways_and_is_recorded_without_a_digest(bench: Bench) -> None:
    bench.say(b"CONNECT files.example:443 HTTP/1.1\r\nHost: files.example:443\r\n\r\n\x16hello")
    bench.answer(b"\x16there")
    bench.say(b"more")
    bench.resolver.far[-1].connectionLost()

    assert bench.resolver.asked == [SECURE]
    assert bench.asked() == b"\x16hellomore"
    assert bench.guest.outgoing == b"HTTP/1.1 200 \r\n\r\n\x16there"
    assert bench.guest.is_closed
    assert bench.fetch == Fetch(
        "CONNECT", "files.example:443", 200, "192.0.2.7", received=6, sent=10
    )


def test_the_last_bytes_of_a_tunnel_still_go_out(bench: Bench) -> None:
    bench.say(b"CONNECT files.example:443 HTTP/1.1\r\nHost: a\r\n\r\nbye")
    bench.connection.lost()

    transport: Any = bench.resolver.far[-1].transport
    assert transport.disconnecting
    assert not transport.disconnected
    bench.clock.advance(LAST_BYTES)
    assert transport.disconnected
    assert bench.clock.getDelayedCalls() == []


REFUSED = {
    b"GET http://other.example/ HTTP/1.1": "label hermetic does not allow other.example:80",
    b"GET http://files.example:22/ HTTP/1.1": "allows files.example at port 80, 443 only",
    b"GET http://127.0.0.1/ HTTP/1.1": "127.0.0.1:80 is an IP address",
    b"GET http://[::1]/ HTTP/1.1": "::1:80 is an IP address",
    b"GET http://files.example@other.example/ HTTP/1.1": "does not allow other.example:80",
    b"GET http://files.example:0/ HTTP/1.1": "the URL has no usable port",
    b"GET http:///x HTTP/1.1": "the URL names no host",
    b"GET https://files.example/ HTTP/1.1": "only http:// URLs and CONNECT",
    b"GET /etc/passwd HTTP/1.1": "only http:// URLs and CONNECT",
    b"CONNECT other.example:443 HTTP/1.1": "does not allow other.example:443",
    b"CONNECT files.example:22 HTTP/1.1": "allows files.example at port 80, 443 only",
    b"CONNECT files.example HTTP/1.1": "the URL names no host",
    b"CONNECT 10.0.0.1:443 HTTP/1.1": "10.0.0.1:443 is an IP address",
}


@pytest.mark.parametrize("line", REFUSED)
def test_other_requests_are_refused_in_the_reason_and_the_body(bench: Bench, line: bytes) -> None:
    bench.say(line + b"\r\nHost: files.example\r\n\r\n")

    head, _, body = bench.guest.outgoing.partition(b"\r\n\r\n")
    assert bench.status() == 403
    assert REFUSED[line] in head.partition(b"\r\n")[0].decode()
    assert REFUSED[line] in body.decode()
    assert bench.guest.is_closed
    assert bench.resolver.asked == []
    assert (bench.fetch.status, REFUSED[line] in bench.fetch.why) == (403, True)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_password_of_a_url_is_recorded(bench: Bench, scheme: str) -> None:
    bench.say(f"GET {scheme}://me:secret@other.example/ HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert bench.fetch.target == f"{scheme}://other.example/"


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (RefusedError("files.example has the address 10.0.0.1, which is not public"), 403),
        (UnreachableError("files.example:80 cannot be reached"), 502),
    ],
)
def test_a_destination_that_is_no_use_is_explained(
    bench: Bench, failure: Exception, status: int
) -> None:
    bench.resolver.failure = failure
    bench.say(GET)

    assert bench.status() == status
    assert str(failure) in bench.guest.outgoing.decode()
    assert bench.fetch.why == str(failure)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\x16\x03\x01 garbage\r\n\r\n", 400),
        (b"GET http://files.example/ HTTP/1.1\r\n\r\n", 400),
        (b"GET http://files.example/ HTTP/1.1\r\nHost: " + b"x" * MOST_HEADERS, 431),
        (b"GET http://f.example/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\n", 400),
    ],
)
def test_a_request_that_cannot_be_read_is_refused(
    bench: Bench, request_: bytes, status: int
) -> None:
    bench.say(request_)
    assert bench.status() == status
    assert bench.guest.is_closed


@given(st.binary(max_size=500), st.sampled_from([b"", b"\r\n\r\n"]))
def test_no_bytes_of_a_guest_get_further_than_the_policy(data: bytes, end: bytes) -> None:
    bench = Bench()
    bench.say(data + end)
    assert bench.resolver.asked == []


@given(st.binary(max_size=300))
def test_no_bytes_of_a_destination_do_harm(data: bytes) -> None:
    bench = Bench()
    bench.say(GET)
    bench.answer(data)
    if bench.resolver.far[-1].is_connected:
        bench.resolver.far[-1].connectionLost()
    assert len(bench.record.fetches) == 1


def test_a_response_that_is_cut_off_has_no_digest(bench: Bench) -> None:
    bench.say(GET)
    bench.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
    bench.resolver.far[-1].connectionLost()

    assert bench.guest.is_closed
    assert (bench.fetch.sha256, bench.fetch.received) == ("", 3)
    assert bench.fetch.why


def test_nothing_more_is_read_for_a_guest_that_does_not_read(bench: Bench) -> None:
    bench.say(GET)
    bench.guest.unsent = UNSENT + 1
    bench.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
    transport: Any = bench.resolver.far[-1].transport
    assert transport.producerState == "paused"

    bench.guest.unsent = 0
    bench.connection.drained()
    assert transport.producerState == "producing"


def test_nothing_more_is_read_from_a_guest_whose_destination_does_not_read(bench: Bench) -> None:
    bench.say(b"POST http://files.example/ HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
    bench.resolver.far[-1].pauseProducing()
    bench.say(b"123456789")
    assert bench.guest.incoming == b"123456789"

    bench.resolver.far[-1].resumeProducing()
    assert bench.asked().endswith(b"\r\n\r\n123456789")


@pytest.mark.parametrize(("said", "seconds"), [(b"GET http", REQUEST_TIMEOUT), (GET, IDLE_TIMEOUT)])
def test_a_connection_on_which_nothing_happens_ends(
    bench: Bench, said: bytes, seconds: float
) -> None:
    bench.say(said)
    closed = []
    for step in (seconds - 1, 1):
        bench.clock.advance(step)
        closed.append(bench.guest.is_closed)
    assert closed == [False, True]
    assert bench.clock.getDelayedCalls() == []


def test_a_guest_that_goes_ends_the_connection_to_the_destination(bench: Bench) -> None:
    bench.say(GET)
    bench.connection.lost()
    transport: Any = bench.resolver.far[-1].transport
    assert transport.disconnected
    assert bench.fetch.why == "the connection ended before the response did"
    assert bench.clock.getDelayedCalls() == []


def test_a_record_is_bounded() -> None:
    record, heard = Record(), list[str]()
    listen: Callable[[str], None] = heard.append
    record.begin(listen)
    for _ in range(MOST_FETCHES + 5):
        record.add(Fetch("GET", "http://files.example/", 200))

    assert (len(record.fetches), record.left_out) == (MOST_FETCHES, 5)
    assert len(heard) == MOST_FETCHES + 1
