# SPDX-License-Identifier: GPL-2.0-only
"""The guard of the worker port, on Buildbot's own dispatcher and real connections.

The reactor's clock is replaced where a deadline has to pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
from buildbot.worker.protocols.manager.pb import PBManager
from twisted.cred.credentials import UsernamePassword
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import DeferredLock
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.spread import banana, pb
from twisted.spread.banana import LIST, STRING

from latent_libvirt import worker_port
from latent_libvirt.worker_port import Door, GuardedBroker, GuardedDispatcher

reactor: Any = the_reactor
int2b128: Any = banana.int2b128
PBClientFactory: Any = pb.PBClientFactory
EMPTY_LIST = LIST


@pytest.fixture(autouse=True)
def door(monkeypatch: pytest.MonkeyPatch) -> Door:
    door = Door()
    monkeypatch.setattr(worker_port, "door", door)
    return door


class Transport(StringTransport):
    """A connection that comes from some address."""

    def __init__(self, address: str) -> None:
        where: Any = SimpleNamespace(host=address)
        super().__init__(peerAddress=where)  # type: ignore[no-untyped-call]


def connected(clock: Clock, address: str = "192.0.2.1") -> Any:
    broker: Any = GuardedBroker(reactor=clock, isClient=False)
    broker.factory = SimpleNamespace(clientConnectionMade=lambda _broker: None)
    broker.makeConnection(Transport(address))
    return broker


def known(clock: Clock) -> Any:
    broker = connected(clock)
    broker.dataReceived(encoded(b"pb"))
    broker.password_was_right()
    return broker


def is_closed(broker: Any) -> bool:
    return bool(broker.transport.disconnecting or broker.transport.disconnected)


def encoded(text: bytes) -> bytes:
    parts: list[bytes] = []
    int2b128(len(text), parts.append)
    return b"".join([*parts, STRING, text])


def list_of(length: int) -> bytes:
    parts: list[bytes] = []
    int2b128(length, parts.append)
    return b"".join([*parts, LIST])


def test_who_does_not_log_in_is_closed_at_the_deadline() -> None:
    clock = Clock()
    broker = connected(clock)

    clock.advance(worker_port.LOGIN_DEADLINE - 1)
    assert not is_closed(broker)
    clock.advance(1)

    assert is_closed(broker)


def test_who_has_logged_in_has_no_deadline() -> None:
    clock = Clock()
    broker = known(clock)

    clock.advance(worker_port.LOGIN_DEADLINE * 100)

    assert not is_closed(broker)
    assert clock.getDelayedCalls() == []


def test_a_flood_closes_the_oldest_of_its_own_address_and_nobody_else() -> None:
    clock = Clock()
    honest = connected(clock, "192.0.2.7")
    flood = [connected(clock) for _ in range(1_100)]

    still_open = [broker for broker in flood if not is_closed(broker)]

    assert still_open == flood[-worker_port.MOST_WAITING_OF_ONE :]
    assert not is_closed(honest)


def test_a_flood_from_many_addresses_leaves_most_descriptors_alone(
    monkeypatch: pytest.MonkeyPatch, door: Door
) -> None:
    monkeypatch.setattr(worker_port, "descriptor_limit", lambda: 1024)
    clock = Clock()

    for number in range(1_100):
        connected(clock, f"192.0.2.{number % 250}")

    assert len(door) == 1024 // 8


def test_addresses_of_one_ipv6_host_are_one() -> None:
    clock = Clock()

    brokers = [connected(clock, f"2001:db8::{number:x}") for number in range(500)]

    still_open = [broker for broker in brokers if not is_closed(broker)]
    assert len(still_open) == worker_port.MOST_WAITING_OF_ONE


@pytest.mark.parametrize(
    "attack",
    {
        "an unfinished list of empty lists": list_of(600_000) + EMPTY_LIST * 600_000,
        "a string that is long": encoded(b"x" * 600_000),
        "lists within lists": list_of(1) * 600_000,
        "many small messages": encoded(b"pb") * 100_000,
        "a number without end": b"\x01" * 600_000,
        "no type that there is": b"\xff" * 10,
        "a word that is not known": b"\x7f\x87",
    }.items(),
    ids=lambda attack: attack[0],
)
def test_what_no_login_needs_is_closed_within_a_few_kib(attack: tuple[str, bytes]) -> None:
    broker = connected(Clock())

    broker.dataReceived(attack[1])

    assert is_closed(broker)
    assert len(broker.buffer) <= worker_port.MOST_BEFORE_LOGIN
    assert broker._items <= worker_port.MOST_BEFORE_LOGIN


@pytest.mark.parametrize(
    "attack",
    {
        "an unfinished list of empty lists": list_of(600_000) + EMPTY_LIST * 600_000,
        "lists of strings": list_of(600_000) + encoded(b"x" * 600_000) * 20,
        "lists within lists": list_of(1) * 600_000,
        "a list of full lists": list_of(600_000) + (list_of(1000) + EMPTY_LIST * 1000) * 600,
    }.items(),
    ids=lambda attack: attack[0],
)
def test_a_worker_cannot_make_a_message_grow_for_ever(attack: tuple[str, bytes]) -> None:
    broker = known(Clock())

    broker.dataReceived(attack[1])

    assert is_closed(broker)


def test_the_largest_log_and_string_of_a_worker_pass() -> None:
    broker = known(Clock())
    taken: list[Any] = []
    broker.expressionReceived = taken.append

    for _ in range(20):
        broker.dataReceived(encoded(b"x" * (640 * 1024)))
    lines = list_of(2 * 65_536) + (b"\x01\x81" + b"\x84" + b"\0" * 8) * 65_536
    broker.dataReceived(lines)

    assert not is_closed(broker)
    assert len(taken) == 21
    assert len(taken[-1]) == 2 * 65_536


# On a real port.


class Avatar(pb.Avatar):
    """What a worker that has logged in may call."""

    def attached(self, _mind: Any) -> None:
        """Take it."""

    def detached(self, _mind: Any) -> None:
        """Let it go."""

    def perspective_keepalive(self) -> str:
        return "ok"


class _Dispatcher(GuardedDispatcher):
    """The product's, with as much of a master as a login needs."""

    master = SimpleNamespace(initLock=DeferredLock(), reactor=reactor)
    number = 0


@pytest.fixture
def dispatcher() -> Iterator[Any]:
    dispatcher = _Dispatcher("tcp:0:interface=127.0.0.1", "tcp:0:interface=127.0.0.1")
    dispatcher.register("debian-12-1", "secret", lambda _mind, _name: Avatar())
    port = dispatcher.start_listening_port()
    dispatcher.number = port.getHost().port
    yield dispatcher
    pytest_twisted.blockon(port.stopListening())


async def flood(number: int) -> list[Any]:
    """Open more connections than may wait, and say nothing on them."""
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", number)
    silent: Any = ClientFactory.forProtocol(Protocol)
    return [await endpoint.connect(silent) for _ in range(200)]


@pytest_twisted.ensureDeferred
async def test_a_worker_logs_in_through_a_flood_of_its_own_address(
    dispatcher: Any, door: Door
) -> None:
    flooding = await flood(dispatcher.number)
    factory = PBClientFactory()
    reactor.connectTCP("127.0.0.1", dispatcher.number, factory)

    avatar = await factory.login(UsernamePassword(b"debian-12-1", b"secret"), pb.Referenceable())

    assert await avatar.callRemote("keepalive") == "ok"
    assert len(door) <= worker_port.MOST_WAITING_OF_ONE
    flooding += await flood(dispatcher.number)
    assert await avatar.callRemote("keepalive") == "ok"
    for one in flooding:
        one.transport.abortConnection()
    factory.disconnect()
    while len(door):
        await deferLater(reactor, 0.01, lambda: None)


def test_ports_are_guarded_from_the_moment_that_a_configuration_has_a_pool(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(PBManager, "dispatcher_class", None)

    worker_port.install()

    assert PBManager.dispatcher_class is GuardedDispatcher
