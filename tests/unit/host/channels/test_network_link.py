# SPDX-License-Identifier: GPL-2.0-only
"""The master's end of a link with many connections, with a real guest's end.

The channel is a list of pieces. What libvirt does with one is in ``tests/integration``.
"""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from latent_libvirt.guest.launcher.link.frames import (
    CLOSE,
    CONNECTION_BYTES,
    CREDIT,
    DATA,
    MOST_CONNECTIONS,
    OPEN,
    TO_MASTER,
    LinkError,
    Message,
)
from latent_libvirt.guest.launcher.link.guest_link import GuestLink
from latent_libvirt.host.channels.channel_end import OPEN_INTERVAL
from latent_libvirt.host.channels.network_link import GuestConnection, NetworkLink

SESSION = "0123456789abcdef"


class Handler:
    """Keeps what it reads, once it reads."""

    def __init__(self, connection: GuestConnection) -> None:
        self.connection = connection
        self.heard = b""
        self.reads = True
        self.is_lost = False

    def has_data(self) -> None:
        if self.reads:
            self.heard += self.connection.read()

    def drained(self) -> None:
        pass

    def lost(self) -> None:
        self.is_lost = True


class Channel:
    """A link between both ends."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.handlers: list[Handler] = []
        self.master = NetworkLink("VM one", SESSION, self._handler, reactor=self.clock)
        self.guest = GuestLink(SESSION)
        self.written: list[bytes] = []
        self.open()

    def _handler(self, connection: GuestConnection) -> Handler:
        self.handlers.append(Handler(connection))
        return self.handlers[-1]

    def open(self) -> list[Message]:
        self.written = []
        self.master.opened(self.written.append)
        return self.exchange()

    def exchange(self) -> list[Message]:
        """Let everything arrive; return what the guest has heard."""
        heard = []
        while True:
            for data in self.written[:]:
                self.written.remove(data)
                for message in self.guest.received(data):
                    self.guest.consumed()
                    heard.append(message)
            output = self.guest.take_output()
            if output:
                self.master.received(output)
            elif not self.written:
                return heard

    def say(self, *messages: Message) -> list[Message]:
        for message in messages:
            self.guest.send(message)
        return self.exchange()


def data_of(messages: list[Message], connection: int) -> bytes:
    return b"".join(m.payload for m in messages if m.kind == DATA and m.connection == connection)


def credit(connection: int, count: int) -> Message:
    return Message(CREDIT, connection, struct.pack(">I", count))


def test_connections_are_led_beside_each_other() -> None:
    channel = Channel()
    channel.say(Message(OPEN, 1), Message(OPEN, 2), Message(DATA, 2, b"two"))
    channel.say(Message(DATA, 1, b"one"))
    channel.handlers[0].connection.write(b"for one")
    channel.handlers[1].connection.write(b"for two")
    channel.handlers[1].connection.close()
    heard = channel.exchange()

    assert [handler.heard for handler in channel.handlers] == [b"one", b"two"]
    assert (data_of(heard, 1), data_of(heard, 2)) == (b"for one", b"for two")
    assert [m.connection for m in heard if m.kind == CLOSE] == [2]
    assert [handler.is_lost for handler in channel.handlers] == [False, True]


def test_one_that_is_not_read_holds_up_no_other() -> None:
    channel = Channel()
    channel.say(Message(OPEN, 1), Message(OPEN, 2))
    slow, quick = (handler.connection for handler in channel.handlers)
    slow.write(b"x" * 10 * CONNECTION_BYTES)
    first = data_of(channel.exchange(), 1)
    quick.write(b"y" * CONNECTION_BYTES)
    second = data_of(channel.exchange(), 2)

    assert (len(first), len(second)) == (CONNECTION_BYTES, CONNECTION_BYTES)
    assert slow.unsent == 9 * CONNECTION_BYTES
    assert len(data_of(channel.say(credit(1, 1000)), 1)) == 1000


def test_a_guest_gets_credit_for_what_was_read() -> None:
    channel = Channel()
    pieces = [Message(DATA, 1, b"z" * 8192) for _ in range(4)]
    heard = channel.say(Message(OPEN, 1), *pieces)

    assert [m for m in heard if m.kind == CREDIT] == [credit(1, 16384)] * 2


def test_a_guest_that_sends_more_than_its_credit_breaks_the_rules() -> None:
    channel = Channel()
    channel.say(Message(OPEN, 1))
    channel.handlers[0].reads = False
    channel.say(*[Message(DATA, 1, b"x" * (CONNECTION_BYTES // 4)) for _ in range(4)])
    with pytest.raises(LinkError, match="more than a connection may have"):
        channel.say(Message(DATA, 1, b"x"))


@pytest.mark.parametrize("wrong", [credit(1, 1), credit(1, 0), Message(CREDIT, 1, b"12")])
def test_a_guest_cannot_give_credit_for_what_was_not_sent(wrong: Message) -> None:
    channel = Channel()
    with pytest.raises(LinkError):
        channel.say(Message(OPEN, 1), wrong)


def test_a_guest_has_no_more_credit_in_a_connection_that_the_master_is_closing() -> None:
    channel = Channel()
    channel.say(Message(OPEN, 1))
    channel.handlers[0].connection.write(b"x" * 2 * CONNECTION_BYTES)
    channel.handlers[0].connection.close()
    channel.say(*[Message(DATA, 1, b"x" * (CONNECTION_BYTES // 4)) for _ in range(4)])
    with pytest.raises(LinkError, match="more than a connection may have"):
        channel.say(Message(DATA, 1, b"x"))


@pytest.mark.parametrize("number", [1, 2])
def test_a_guest_that_speaks_of_no_connection_breaks_the_rules(number: int) -> None:
    channel = Channel()
    channel.say(Message(OPEN, 1))
    channel.handlers[0].connection.close()
    for _window in range(4):
        channel.say(*[Message(DATA, 1, b"x")] * TO_MASTER.messages)
    with pytest.raises(LinkError, match="that there is not"):
        channel.say(Message(DATA, number, b"x"))


def test_a_connection_cannot_be_opened_twice() -> None:
    channel = Channel()
    with pytest.raises(LinkError, match="opens a connection twice"):
        channel.say(Message(OPEN, 2), Message(OPEN, 2))


def test_a_guest_has_so_many_connections_at_one_time() -> None:
    channel = Channel()
    heard = channel.say(*[Message(OPEN, n + 1) for n in range(MOST_CONNECTIONS + 1)])
    assert [m.connection for m in heard if m.kind == CLOSE] == [MOST_CONNECTIONS + 1]

    channel.say(Message(CLOSE, 1), Message(OPEN, 99))
    assert [h.is_lost for h in channel.handlers] == [True] + [False] * MOST_CONNECTIONS


def test_a_guest_that_opens_and_closes_all_the_time_is_slowed_down() -> None:
    channel = Channel()
    for number in range(1, 1000):
        channel.say(Message(OPEN, number), Message(CLOSE, number))
    assert len(channel.handlers) <= TO_MASTER.messages

    before = len(channel.handlers)
    for _ in range(50):
        channel.clock.advance(OPEN_INTERVAL)
        channel.exchange()
    assert before < len(channel.handlers) <= before + 51


def test_nothing_is_lost_when_the_channel_is_cut() -> None:
    channel = Channel()
    channel.say(Message(OPEN, 1), Message(DATA, 1, b"be"))
    channel.handlers[0].connection.write(b"ear")
    channel.written.clear()
    channel.master.cut()
    channel.guest.send(Message(DATA, 1, b"fore"))
    channel.guest.take_output()
    channel.handlers[0].connection.write(b"ly")

    assert data_of(channel.open(), 1) == b"early"
    assert channel.handlers[0].heard == b"before"


def test_the_end_of_the_link_ends_all_connections_and_the_log_says_why() -> None:
    channel = Channel()
    channel.say(Message(OPEN, 1), Message(OPEN, 2))
    with capturedLogs() as events:
        channel.master.end("the guest floods it")
        channel.master.end("again")
    channel.clock.advance(10)

    assert [handler.is_lost for handler in channel.handlers] == [True, True]
    assert [event["reason"] for event in events] == ["the guest floods it"]


class Cut(Channel):
    """A link that is cut at any byte, in both directions, with a guest that keeps its credit."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.got: dict[int, bytes] = {}
        self.credit: dict[int, int] = {}
        self.to_send: dict[int, bytes] = {}
        super().__init__()

    def exchange(self) -> list[Message]:
        """Let a part arrive, perhaps, and perhaps cut the channel."""
        for _ in range(self.rng.randrange(1, 8)):
            pending = b"".join(self.written)
            self.written.clear()
            self._hear(pending)
            self._speak()
            output = self.guest.take_output()
            if self.rng.random() < 0.2:
                self.master.received(output[: self.rng.randrange(len(output) + 1)])
                self._cut()
            elif output:
                self.master.received(output)
            self.clock.advance(1)
        return []

    def _cut(self) -> None:
        pending = b"".join(self.written)
        self._hear(pending[: self.rng.randrange(len(pending) + 1)])
        self.master.cut()
        self.written = []
        self.master.opened(self.written.append)

    def _hear(self, data: bytes) -> None:
        for message in self.guest.received(data):
            self.guest.consumed()
            number = message.connection
            if message.kind == DATA:
                self.got[number] = self.got.get(number, b"") + message.payload
                self.guest.send(credit(number, len(message.payload)))
            elif message.kind == CREDIT:
                self.credit[number] += struct.unpack(">I", message.payload)[0]

    def _speak(self) -> None:
        for number, data in self.to_send.items():
            if number not in self.credit:
                self.credit[number] = CONNECTION_BYTES
                self.guest.send(Message(OPEN, number))
            piece = data[: min(self.credit[number], self.rng.randrange(1, 20_000))]
            if piece:
                self.credit[number] -= len(piece)
                self.to_send[number] = data[len(piece) :]
                self.guest.send(Message(DATA, number, piece))


@given(st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_nothing_is_lost_or_doubled_wherever_the_channel_is_cut(seed: int) -> None:
    rng = random.Random(seed)
    channel = Cut(rng)
    there = {number: rng.randbytes(rng.randrange(150_000)) for number in (1, 2, 3)}
    back = {number: rng.randbytes(rng.randrange(150_000)) for number in (1, 2, 3)}
    channel.to_send = dict(there)
    while len(channel.handlers) < len(there):
        channel.exchange()
    for number, handler in enumerate(channel.handlers, start=1):
        handler.connection.write(back[number])
    for _ in range(500):
        channel.exchange()
        heard = {n: handler.heard for n, handler in enumerate(channel.handlers, start=1)}
        if heard == there and all(channel.got.get(n, b"") == back[n] for n in back):
            return
    raise AssertionError({n: (len(heard[n]), len(there[n])) for n in there})
