# SPDX-License-Identifier: GPL-2.0-only
"""The master's end of a link with a real guest's end, and a protocol of the test in between.

The channel is a list of pieces. What libvirt does with one is in ``tests/integration``.
"""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from latent_libvirt.guest.launcher.link.frames import (
    CLOSE,
    CREDIT,
    DATA,
    NOTHING,
    OPEN,
    TO_GUEST,
    TO_MASTER,
    LinkError,
    Message,
)
from latent_libvirt.guest.launcher.link.guest_link import GuestLink
from latent_libvirt.host.channels.channel_end import OPEN_INTERVAL
from latent_libvirt.host.channels.worker_link import WorkerLink

SESSION = "0123456789abcdef"


class Said(Protocol):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard = b""
        self.ends: list[type[BaseException]] = []

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.heard += data

    def connectionLost(self, reason: Any = None) -> None:
        self.ends.append(reason.type)


class Channel:
    """A link between both ends."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.protocols: list[Said] = []
        factory = Factory()
        factory.buildProtocol = self._build  # type: ignore[method-assign,assignment]
        self.master = WorkerLink("VM one", SESSION, factory, reactor=self.clock)
        self.guest = GuestLink(SESSION)
        self.written: list[bytes] = []
        self.open()

    def _build(self, _address: object) -> Said:
        self.protocols.append(Said())
        return self.protocols[-1]

    def open(self) -> None:
        self.written = []
        self.master.opened(self.written.append)

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
                self.clock.advance(0)
                return [message for message in heard if message.kind != NOTHING]

    def say(self, *messages: Message) -> list[Message]:
        for message in messages:
            self.guest.send(message)
        return self.exchange()


def test_each_connection_of_the_guest_gets_a_protocol() -> None:
    channel = Channel()
    channel.say(Message(OPEN, 1), Message(DATA, 1, b"hello"), Message(CLOSE, 1))
    channel.say(Message(OPEN, 2), Message(DATA, 2, b"again"))

    assert [protocol.heard for protocol in channel.protocols] == [b"hello", b"again"]
    assert [protocol.ends for protocol in channel.protocols] == [[ConnectionDone], []]


def test_what_the_protocol_says_reaches_the_guest_and_its_end_too() -> None:
    channel = Channel()
    channel.say(Message(OPEN, 1))
    (protocol,) = channel.protocols
    transport: Any = protocol.transport
    transport.write(b"x" * 100_000)
    transport.loseConnection()

    *data, last = channel.exchange()
    assert b"".join(message.payload for message in data) == b"x" * 100_000
    assert last == Message(CLOSE, 1)
    assert protocol.ends == [ConnectionDone]


def test_an_abort_does_not_wait_for_a_guest_that_does_not_read() -> None:
    channel = Channel()
    channel.say(Message(OPEN, 1))
    transport: Any = channel.protocols[0].transport
    transport.write(b"x" * 1_000_000)
    transport.abortConnection()
    channel.clock.advance(0)

    assert channel.protocols[0].ends == [ConnectionAborted]
    assert sum(map(len, channel.written)) <= TO_GUEST.bytes


def test_a_protocol_that_takes_nothing_holds_up_the_guest_and_then_goes_on() -> None:
    channel = Channel()
    channel.say(Message(OPEN, 1))
    transport: Any = channel.protocols[0].transport
    transport.pauseProducing()
    for _ in range(100):
        channel.guest.send(Message(DATA, 1, b"x" * 10_000))
    channel.exchange()
    assert channel.protocols[0].heard == b""
    assert not channel.guest.has_room

    transport.resumeProducing()
    channel.exchange()
    assert len(channel.protocols[0].heard) == 1_000_000


def test_a_cut_in_the_middle_loses_nothing() -> None:
    channel = Channel()
    channel.say(Message(OPEN, 1))
    (protocol,) = channel.protocols
    transport: Any = protocol.transport
    transport.write(b"y" * 20_000)
    channel.guest.send(Message(DATA, 1, b"z" * 5_000))
    channel.guest.take_output()
    channel.master.cut()
    transport.write(b"and more")
    channel.open()

    heard = b"".join(message.payload for message in channel.exchange())
    assert heard == b"y" * 20_000 + b"and more"
    assert protocol.heard == b"z" * 5_000
    assert protocol.ends == []


def test_the_end_of_the_link_is_the_end_of_the_connection_and_is_logged_with_its_reason() -> None:
    channel = Channel()
    channel.say(Message(OPEN, 1))
    with capturedLogs() as events:
        channel.master.end("somebody says so")
        channel.master.end("and again")
    channel.clock.advance(0)

    assert channel.protocols[0].ends == [ConnectionLost]
    assert [event["reason"] for event in events] == ["somebody says so"]


def test_a_guest_that_sends_too_much_is_found_out_while_the_protocol_takes_nothing() -> None:
    channel = Channel()
    channel.say(Message(OPEN, 1))
    transport: Any = channel.protocols[0].transport
    transport.pauseProducing()
    for _ in range(100):
        channel.guest.send(Message(DATA, 1, b"x" * TO_MASTER.payload))
    channel.exchange()
    liar = channel.guest._outgoing
    liar._sent.clear()
    liar._bytes = 0
    liar.first = channel.master._link._received

    with pytest.raises(LinkError, match="more than it may"):
        channel.exchange()


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (Message(OPEN, 0), "opens a connection twice"),
        (Message(OPEN, 1), "opens a connection twice"),
        (Message(CREDIT, 1, b"1234"), "gives credit"),
        (Message(DATA, 2, b"hello"), "that there is not"),
        (Message(CLOSE, 2), "that there is not"),
        (Message(DATA, 0, b"hello"), "that there is not"),
    ],
)
def test_a_guest_that_speaks_of_a_connection_that_there_is_not_breaks_the_rules(
    wrong: Message, why: str
) -> None:
    channel = Channel()
    channel.say(Message(OPEN, 1))
    with pytest.raises(LinkError, match=why):
        channel.say(wrong)

    assert len(channel.protocols) == 1


def test_a_guest_may_send_four_windows_until_it_hears_of_an_end_and_no_more() -> None:
    channel = Channel()
    channel.say(Message(OPEN, 1))
    transport: Any = channel.protocols[0].transport
    transport.loseConnection()
    for _window in range(4):
        channel.say(*[Message(DATA, 1, b"x")] * TO_MASTER.messages)

    with pytest.raises(LinkError, match="that there is not"):
        channel.say(Message(DATA, 1, b"x"))


def test_a_connection_that_both_ends_close_may_be_followed_by_another() -> None:
    channel = Channel()
    for number in range(1, 50):
        channel.say(Message(OPEN, number))
        transport: Any = channel.protocols[-1].transport
        channel.guest.send(Message(CLOSE, number))
        transport.loseConnection()
        channel.exchange()

    assert len(channel.protocols) == 49


def test_a_guest_that_opens_connections_all_the_time_is_slowed_down() -> None:
    channel = Channel()
    for number in range(1, 1000):
        channel.say(Message(OPEN, number))
    assert len(channel.protocols) <= TO_MASTER.messages

    before = len(channel.protocols)
    for _ in range(50):
        channel.clock.advance(OPEN_INTERVAL)
        channel.exchange()
    assert before < len(channel.protocols) <= before + 51
