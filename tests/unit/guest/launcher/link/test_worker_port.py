# SPDX-License-Identifier: GPL-2.0-only
"""The worker's port in a real reactor, with a socket in the place of the channel.

The test turns the reactor, so that nothing depends on which thread comes first.
"""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import error
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.protocol import Factory, Protocol

from latent_libvirt.guest.launcher.link.frames import CLOSE, DATA, NOTHING, OPEN, Message
from latent_libvirt.guest.launcher.link.guest_link import GuestLink
from latent_libvirt.guest.launcher.link.worker_port import WorkerPort
from latent_libvirt.guest.master_link import MasterLink

SESSION = "0123456789abcdef"
DEADLINE = 60.0
SMALL = 4096
"""Bytes that a socket keeps, so that the port takes a message in many pieces."""


class Worker(Protocol):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard = bytearray()
        self.ends: list[type[BaseException]] = []

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.heard += data

    def connectionLost(self, reason: Any = None) -> None:
        self.ends.append(reason.type)


class Channel:
    """Both ends: the guest's is a :class:`WorkerPort`, and the master's reads when it is turned."""

    def __init__(self, *, master_gone: float = DEADLINE) -> None:
        self.host, self.guest = socket.socketpair()
        for end in (self.host, self.guest):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        self.host.setblocking(False)
        self.reactor = EPollReactor()  # type: ignore[no-untyped-call]
        descriptor = self.guest.detach()
        self.port = WorkerPort(
            GuestLink(SESSION), descriptor, reactor=self.reactor, master_gone=master_gone
        )
        self.link = MasterLink(SESSION)
        self.heard: list[Message] = []
        self._output = b""
        self.link.opened()

    def connect(self) -> tuple[Worker, Any]:
        """Return a worker that connects, and its transport."""
        worker = Worker()
        self.port.connect(Factory.forProtocol(lambda: worker))
        return worker, worker.transport

    def send(self, *messages: Message) -> None:
        for message in messages:
            self.link.send(message)

    def send_data(self, number: int, data: bytes) -> None:
        for at in range(0, len(data), self.link.payload):
            self.send(Message(DATA, number, data[at : at + self.link.payload]))

    def said(self, number: int) -> bytes:
        """Return what the guest has said in a connection."""
        return b"".join(m.payload for m in self.heard if (m.kind, m.connection) == (DATA, number))

    def turn(self) -> None:
        """Let the master's end, and then the guest's, do what they can."""
        self._output += self.link.take_output()
        with contextlib.suppress(BlockingIOError):
            self._output = self._output[self.host.send(self._output) :]
        self.reactor.iterate(0.001)
        with contextlib.suppress(BlockingIOError):
            for message in self.link.received(self.host.recv(65536)):
                self.link.consumed()
                if message.kind != NOTHING:
                    self.heard.append(message)

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline
            self.turn()

    def cut(self) -> None:
        """Lose what is under way to the master, and some of what is under way to the guest."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.host.recv(65536)
        self._output = b""
        self.link.cut()
        self.link.opened()


@contextlib.contextmanager
def opened(*, master_gone: float = DEADLINE) -> Iterator[Channel]:
    channel = Channel(master_gone=master_gone)
    try:
        yield channel
    finally:
        channel.port._master_gone = -1.0
        channel.host.close()
        deadline = time.monotonic() + DEADLINE
        while channel.port.fileno() >= 0 and time.monotonic() < deadline:
            channel.reactor.iterate(0.01)
        channel.reactor.removeAll()  # type: ignore[no-untyped-call]
        channel.reactor._poller.close()
        assert channel.port.fileno() < 0


def has_heard(worker: Worker, data: bytes) -> bool:
    return worker.heard == data


def test_a_connection_is_led_both_ways_and_then_the_next_one() -> None:
    with opened() as channel:
        for number in (1, 2):
            channel.heard.clear()
            worker, transport = channel.connect()
            transport.write(b"hello")
            channel.until(lambda: len(channel.heard) == 2)
            assert channel.heard == [Message(OPEN, number), Message(DATA, number, b"hello")]
            channel.send(Message(DATA, number, b"an answer"))
            channel.until(partial(has_heard, worker, b"an answer"))
            transport.loseConnection()
            channel.until(partial(getattr, worker, "ends"))
            channel.until(partial(channel.heard.count, Message(CLOSE, number)))
            assert worker.ends == [error.ConnectionDone]


def test_the_end_of_a_connection_at_the_master_is_one_in_the_guest() -> None:
    with opened() as channel:
        worker, _ = channel.connect()
        channel.send(Message(DATA, 1, b"last words"), Message(CLOSE, 1))
        channel.until(lambda: worker.ends)

        assert worker.heard == b"last words"
        assert worker.ends == [error.ConnectionDone]


def test_what_is_for_a_connection_of_the_past_reaches_no_other() -> None:
    with opened() as channel:
        channel.connect()[1].loseConnection()
        worker, _ = channel.connect()
        channel.send(Message(DATA, 1, b"old"), Message(CLOSE, 1), Message(DATA, 2, b"new"))
        channel.until(lambda: worker.heard)

        assert worker.heard == b"new"
        assert not worker.ends


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**64).map(random.Random), st.integers(0, 20))
def test_much_data_arrives_whole_both_ways_however_the_channel_is_cut(
    rng: random.Random, cuts: int
) -> None:
    up, down = rng.randbytes(600_000), rng.randbytes(300_000)
    with opened() as channel:
        worker, transport = channel.connect()
        channel.send_data(1, down)
        for at in range(0, len(up), 50_000):
            transport.write(up[at : at + 50_000])
        transport.loseConnection()
        for _ in range(cuts):
            for _ in range(rng.randrange(30)):
                channel.turn()
            channel.cut()
        channel.until(lambda: Message(CLOSE, 1) in channel.heard)

        assert channel.said(1) == up
        assert down.startswith(worker.heard)


def test_all_that_the_master_says_is_heard_however_the_channel_is_cut() -> None:
    rng = random.Random(5)
    data = rng.randbytes(400_000)
    with opened() as channel:
        worker, _ = channel.connect()
        channel.send_data(1, data)
        for _ in range(10):
            for _ in range(rng.randrange(20)):
                channel.turn()
            channel.cut()
        channel.until(lambda: len(worker.heard) >= len(data))

        assert worker.heard == data


def test_a_worker_that_does_not_read_holds_up_its_master_and_nothing_is_lost() -> None:
    with opened() as channel:
        worker, transport = channel.connect()
        channel.until(lambda: channel.heard)
        transport.pauseProducing()
        data = bytes(range(256)) * 4000
        channel.send_data(1, data)
        for _ in range(300):
            channel.turn()
        assert worker.heard == b""
        assert not channel.link.has_room

        transport.resumeProducing()
        channel.until(lambda: len(worker.heard) >= len(data))
        assert worker.heard == data


@pytest.mark.parametrize("comes", [True, False])
def test_without_a_master_the_worker_loses_its_connection_and_makes_no_other(
    *, comes: bool
) -> None:
    with opened(master_gone=0.3) as channel:
        worker, _ = channel.connect()
        if comes:
            channel.until(lambda: channel.heard)
        channel.host.close()
        deadline = time.monotonic() + DEADLINE
        while not worker.ends and time.monotonic() < deadline:
            channel.reactor.iterate(0.01)

        assert worker.ends == [error.ConnectionLost]
        assert channel.port.fileno() < 0
        refused: list[Any] = []
        channel.port.connect(Factory.forProtocol(Worker)).addErrback(refused.append)
        assert refused[0].check(error.ConnectionRefusedError)
