# SPDX-License-Identifier: GPL-2.0-only
"""The guard of the worker port, on Buildbot's own dispatcher and real connections.

The reactor's clock is replaced where a deadline has to pass.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
from buildbot.worker.protocols.manager.pb import PBManager
from twisted.cred.credentials import UsernamePassword
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs, formatEvent
from twisted.spread import banana, pb
from twisted.spread.banana import LIST, STRING
from zope.interface import implementer

from latent_libvirt.master.workers.password import SingleUsePassword
from latent_libvirt.master.workers.port import broker as broker_module
from latent_libvirt.master.workers.port import dispatcher as dispatcher_module
from latent_libvirt.master.workers.port import door as door_module
from latent_libvirt.master.workers.port.broker import (
    LOGIN_DEADLINE,
    MOST_BEFORE_LOGIN,
    MOST_ERRORS,
    MOST_UNSENT,
    UNREAD_CHECK,
    UNREAD_REST,
    GuardedBroker,
)
from latent_libvirt.master.workers.port.dispatcher import GuardedDispatcher
from latent_libvirt.master.workers.port.door import MOST_WAITING_OF_ONE, Door

reactor: Any = the_reactor
int2b128: Any = banana.int2b128
PBClientFactory: Any = pb.PBClientFactory
EMPTY_LIST = LIST


@pytest.fixture(autouse=True)
def door(monkeypatch: pytest.MonkeyPatch) -> Door:
    door = Door()
    monkeypatch.setattr(broker_module, "door", door)
    return door


class Transport(StringTransport):
    """A connection that comes from some address."""

    def __init__(self, address: str) -> None:
        where: Any = SimpleNamespace(host=address)
        super().__init__(peerAddress=where)  # type: ignore[no-untyped-call]


def connected(
    clock: Clock, address: str = "192.0.2.1", *, transport: Transport | None = None
) -> Any:
    broker: Any = GuardedBroker(reactor=clock, isClient=False)
    broker.factory = SimpleNamespace(clientConnectionMade=lambda _broker: None)
    broker.makeConnection(transport or Transport(address))
    return broker


def known(clock: Clock) -> Any:
    broker = connected(clock)
    broker.dataReceived(encoded(b"pb"))
    broker.password_was_right()
    return broker


def say(broker: Any, clock: Clock, what: bytes) -> None:
    """Send as much as a connection takes, with the rests that it needs."""
    for start in range(0, len(what), 2**16):
        broker.dataReceived(what[start : start + 2**16])
        while clock.getDelayedCalls() and not is_closed(broker):
            clock.advance(0.01)
        if is_closed(broker):
            return


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

    clock.advance(LOGIN_DEADLINE - 1)
    assert not is_closed(broker)
    clock.advance(1)

    assert is_closed(broker)


def test_who_has_logged_in_has_no_deadline() -> None:
    clock = Clock()
    broker = known(clock)

    clock.advance(LOGIN_DEADLINE * 100)

    assert not is_closed(broker)
    assert clock.getDelayedCalls() == []


def test_a_flood_closes_the_oldest_of_its_own_address_and_nobody_else() -> None:
    clock = Clock()
    honest = connected(clock, "192.0.2.7")
    flood = [connected(clock) for _ in range(1_100)]

    still_open = [broker for broker in flood if not is_closed(broker)]

    assert still_open == flood[-MOST_WAITING_OF_ONE:]
    assert not is_closed(honest)


def test_a_flood_from_many_addresses_leaves_most_descriptors_alone(
    monkeypatch: pytest.MonkeyPatch, door: Door
) -> None:
    monkeypatch.setattr(door_module, "descriptor_limit", lambda: 1024)
    clock = Clock()

    for number in range(1_100):
        connected(clock, f"192.0.2.{number % 250}")

    assert len(door) == 1024 // 8


def test_addresses_of_one_ipv6_host_are_one() -> None:
    clock = Clock()

    brokers = [connected(clock, f"2001:db8::{number:x}") for number in range(500)]

    still_open = [broker for broker in brokers if not is_closed(broker)]
    assert len(still_open) == MOST_WAITING_OF_ONE


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
    assert len(broker.buffer) <= MOST_BEFORE_LOGIN
    assert broker._items <= MOST_BEFORE_LOGIN


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
    clock = Clock()
    broker = known(clock)

    say(broker, clock, attack[1])

    assert is_closed(broker)


def test_the_largest_log_and_string_of_a_worker_pass() -> None:
    clock = Clock()
    broker = known(clock)
    taken: list[Any] = []
    broker.expressionReceived = taken.append

    for _ in range(20):
        say(broker, clock, encoded(b"x" * (640 * 1024)))
    lines = list_of(2 * 65_536) + (b"\x01\x81" + b"\x84" + b"\0" * 8) * 65_536
    say(broker, clock, lines)

    assert not is_closed(broker)
    assert len(taken) == 21
    assert len(taken[-1]) == 2 * 65_536


# On a real port.


class Avatar(pb.Avatar):
    """What a worker that has logged in may call.

    :ivar calls: how often something was called that costs.
    :ivar taken: what it was called with.
    :ivar mind: the worker's object that the master calls.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.taken: list[Any] = []
        self.mind: Any = None

    def attached(self, mind: Any) -> None:
        """Take it."""
        self.mind = mind

    def detached(self, _mind: Any) -> None:
        """Let it go."""

    def perspective_keepalive(self) -> str:
        return "ok"

    def perspective_take(self, value: Any) -> None:
        self.taken.append(value)

    def perspective_cost_time(self) -> None:
        self.calls += 1
        time.sleep(0.002)

    def perspective_answer_much(self) -> bytes:
        self.calls += 1
        return b"x" * 100_000


class _Dispatcher(GuardedDispatcher):
    """The product's, with as much of a master as a login needs."""

    master = SimpleNamespace(initLock=DeferredLock(), reactor=reactor)
    number = 0
    avatars: dict[str, Avatar]


def _avatar_of(avatar: Avatar) -> Any:
    def attached(mind: Any, _name: str) -> Avatar:
        avatar.attached(mind)
        return avatar

    return attached


@pytest.fixture
def dispatcher() -> Iterator[Any]:
    dispatcher = _Dispatcher("tcp:0:interface=127.0.0.1", "tcp:0:interface=127.0.0.1")
    dispatcher.avatars = {name: Avatar() for name in ("debian-12-1", "debian-12-2")}
    for name, avatar in dispatcher.avatars.items():
        dispatcher.register(name, "secret", _avatar_of(avatar))
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
    assert len(door) <= MOST_WAITING_OF_ONE
    flooding += await flood(dispatcher.number)
    assert await avatar.callRemote("keepalive") == "ok"
    for one in flooding:
        one.transport.abortConnection()
    factory.disconnect()
    while len(door):
        await deferLater(reactor, 0.01, lambda: None)


@pytest_twisted.ensureDeferred
async def test_who_says_nothing_is_closed_at_the_deadline(
    dispatcher: Any, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_module, "LOGIN_DEADLINE", 0.5)
    closed: Deferred[Any] = Deferred()
    client = Protocol()
    client.connectionLost = lambda _reason: closed.callback(None)  # type: ignore[method-assign,assignment,misc]
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", dispatcher.number)
    await endpoint.connect(ClientFactory.forProtocol(lambda: client))  # type: ignore[arg-type]

    await closed

    assert len(door) == 0


async def login(dispatcher: Any, name: bytes) -> tuple[Any, Any]:
    """Log in; return the client's factory, and what it may call."""
    factory = PBClientFactory()
    reactor.connectTCP("127.0.0.1", dispatcher.number, factory)
    avatar = await factory.login(UsernamePassword(name, b"secret"), pb.Referenceable())
    return factory, avatar


def call_often(avatar: Any, method: str, times: int) -> None:
    """Call a method as cheaply as can be: what one call says, over and over."""
    said: list[bytes] = []
    real = avatar.broker.transport
    avatar.broker.proto_answer = lambda *_answer: None
    avatar.broker.transport = SimpleNamespace(write=said.append)
    avatar.callRemote(method).addErrback(lambda _gone: None)
    avatar.broker.transport = real
    real.write(b"".join(said) * times)


async def gone(*factories: Any) -> None:
    for factory in factories:
        factory._broker.transport.abortConnection()
    await deferLater(reactor, 0.1, lambda: None)


@pytest_twisted.ensureDeferred
async def test_a_worker_that_calls_without_end_leaves_others_their_turn(dispatcher: Any) -> None:
    hostile, its_avatar = await login(dispatcher, b"debian-12-1")
    honest, avatar = await login(dispatcher, b"debian-12-2")
    called = dispatcher.avatars["debian-12-1"]
    call_often(its_avatar, "cost_time", 10_000)
    while not called.calls:
        await deferLater(reactor, 0, lambda: None)

    before = called.calls
    for _ in range(5):
        assert await avatar.callRemote("keepalive") == "ok"

    # One read of Twisted's brings a thousand of them.
    assert called.calls - before < 5 * 200
    await gone(hostile, honest)


@pytest_twisted.ensureDeferred
async def test_who_does_not_read_its_answers_is_not_read_either(dispatcher: Any) -> None:
    hostile, its_avatar = await login(dispatcher, b"debian-12-1")
    honest, avatar = await login(dispatcher, b"debian-12-2")
    its_avatar.broker.transport.pauseProducing()
    called = dispatcher.avatars["debian-12-1"]
    call_often(its_avatar, "answer_much", 3_000)

    seen = -1
    while called.calls != seen:
        seen = called.calls
        await deferLater(reactor, 0.5, lambda: None)
        assert await avatar.callRemote("keepalive") == "ok"

    assert 0 < called.calls < 1_000  # the kernel keeps some
    its_avatar.broker.transport.resumeProducing()
    while called.calls < 3_000:
        await deferLater(reactor, 0.05, lambda: None)
    await gone(hostile, honest)


class Log:
    """What Twisted logs in the meantime."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lines: list[str] = []
        pb_log = "twisted.spread.pb.log"
        monkeypatch.setattr(f"{pb_log}.msg", lambda *said, **_more: self.lines.append(str(said)))
        monkeypatch.setattr(f"{pb_log}.err", lambda *said, **_more: self.lines.append("traceback"))


async def called_by_stranger(number: int, method: str, *arguments: Any) -> Any:
    """Call a method of the root without a login; return the error and the connection."""
    factory = PBClientFactory()
    reactor.connectTCP("127.0.0.1", number, factory)
    root = await factory.getRootObject()
    with pytest.raises(pb.RemoteError) as told:
        await root.callRemote(method, *arguments)
    return told.value, factory


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("login", ()),
        ("login", (b"a", b"b", b"c")),
        ("nosuch", ()),
        ("loginAnonymous", (None,)),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_stranger_fills_no_log_reads_no_traceback_and_is_closed(
    dispatcher: Any, monkeypatch: pytest.MonkeyPatch, method: str, arguments: tuple[Any, ...]
) -> None:
    logged = Log(monkeypatch)

    error, factory = await called_by_stranger(dispatcher.number, method, *arguments)
    monkeypatch.undo()

    assert "File" not in str(error.remoteTraceback)
    assert "traceback" not in logged.lines
    while factory._broker is not None:
        await deferLater(reactor, 0.05, lambda: None)


@pytest_twisted.ensureDeferred
async def test_a_wrong_password_is_said_and_not_logged_with_a_traceback(
    dispatcher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged = Log(monkeypatch)
    factory = PBClientFactory()
    reactor.connectTCP("127.0.0.1", dispatcher.number, factory)

    with pytest.raises(pb.RemoteError) as told:
        await factory.login(UsernamePassword(b"debian-12-1", b"wrong"), pb.Referenceable())

    assert told.value.remoteType == b"twisted.cred.error.UnauthorizedLogin"
    assert "File" not in str(told.value.remoteTraceback)
    assert "traceback" not in logged.lines
    while factory._broker is not None:
        await deferLater(reactor, 0.05, lambda: None)


async def refused_with(dispatcher: Any, password: str) -> str:
    """Fail to log in; return what the log says of it."""
    factory = PBClientFactory()
    with capturedLogs() as events:
        reactor.connectTCP("127.0.0.1", dispatcher.number, factory)
        with pytest.raises(pb.RemoteError) as told:
            await factory.login(
                UsernamePassword(b"debian-12-1", password.encode()), pb.Referenceable()
            )
    assert told.value.remoteType == b"twisted.cred.error.UnauthorizedLogin"
    factory.disconnect()
    while factory._broker is not None:
        await deferLater(reactor, 0.05, lambda: None)
    return "\n".join(filter(None, map(formatEvent, events)))


@pytest_twisted.ensureDeferred
async def test_a_worker_of_a_held_vm_that_logs_in_again_has_one_line_in_the_log(
    dispatcher: Any,
) -> None:
    password = SingleUsePassword()
    dispatcher.unregister("debian-12-1")
    dispatcher.register("debian-12-1", password, None)
    spent = password.renew("one on host a")
    for vm in ("", "two on host a"):
        password.renew(vm)

    first, second = [await refused_with(dispatcher, spent) for _try in range(2)]
    assert "invalid login" not in first + second
    assert "login of VM one on host a is refused" in first
    assert "is refused" not in second
    assert "invalid login from user 'debian-12-1'" in await refused_with(dispatcher, "guessed")


@pytest_twisted.ensureDeferred
async def test_a_worker_whose_calls_fail_without_end_is_closed_before_it_fills_the_log(
    dispatcher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile, its_avatar = await login(dispatcher, b"debian-12-1")
    honest, avatar = await login(dispatcher, b"debian-12-2")
    logged = Log(monkeypatch)
    call_often(its_avatar, "nosuch", 10_000)

    while hostile._broker is not None:
        await deferLater(reactor, 0.05, lambda: None)

    assert logged.lines.count("traceback") <= MOST_ERRORS
    assert await avatar.callRemote("keepalive") == "ok"
    monkeypatch.undo()
    await gone(honest)


LISTS = [
    [b"reference", 1, [b"list", *[b"ha"] * 10]],
    *([b"reference", n, [b"list", *[[b"dereference", n - 1]] * 10]] for n in range(2, 11)),
]
LAUGHS = [b"tuple", [b"list", *LISTS]]
"""Ten thousand million texts."""

AVATAR = object()
"""Stands for the number of what the worker may call."""

NOTHING = [b"tuple"], [b"dictionary"]


@pytest.mark.parametrize(
    "said",
    {
        "a value that is larger than the message": (
            b"message",
            1,
            AVATAR,
            b"take",
            1,
            LAUGHS,
            [b"dictionary"],
        ),
        "a type that no worker sends": (
            b"message",
            1,
            AVATAR,
            b"take",
            1,
            [b"tuple", [b"decimal", 1, 9]],
            [b"dictionary"],
        ),
        "that it does not understand": (b"didNotUnderstand", b"x" * 10_000),
        "an answer to no question": (b"answer", 99, b"x"),
        "an answer that is none": (b"answer", 1, [b"decimal", 1, 999_999_999]),
        "an answer that is larger than the message": (b"answer", 1, LAUGHS),
        "an error that is none": (b"error", 1, b"x"),
        "an error without its parts": (
            b"error",
            1,
            [b"twisted.spread.pb.CopyableFailure", [b"None"]],
        ),
    }.items(),
    ids=lambda said: said[0],
)
@pytest_twisted.ensureDeferred
async def test_a_worker_that_says_what_none_says_is_closed_and_who_asked_it_hears_that(
    dispatcher: Any, said: tuple[str, tuple[Any, ...]]
) -> None:
    _hostile, its_avatar = await login(dispatcher, b"debian-12-1")
    honest, avatar = await login(dispatcher, b"debian-12-2")
    its_avatar.broker.proto_message = lambda *_question: None  # it does not answer
    its_avatar.broker.proto_error = lambda *_error: None
    asked = dispatcher.avatars["debian-12-1"].mind.callRemote("getWorkerInfo")

    said_now = [its_avatar.luid if part is AVATAR else part for part in said[1]]
    its_avatar.broker.sendCall(*said_now)

    with pytest.raises(pb.PBConnectionLost):
        await asked
    assert dispatcher.avatars["debian-12-1"].taken == []
    assert await avatar.callRemote("keepalive") == "ok"
    await gone(honest)


@pytest_twisted.ensureDeferred
async def test_a_call_of_what_cannot_be_an_object_is_an_error_without_a_traceback(
    dispatcher: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile, its_avatar = await login(dispatcher, b"debian-12-1")
    logged = Log(monkeypatch)
    its_avatar.broker.proto_error = lambda *_error: None

    for number, target in enumerate(([b"list"], 0.5, 99, b"nosuch")):
        its_avatar.broker.sendCall(b"message", number, target, b"x", 1, *NOTHING)

    assert await its_avatar.callRemote("keepalive") == "ok"
    assert "traceback" not in logged.lines
    monkeypatch.undo()
    await gone(hostile)


@implementer(ISSLTransport)
class SecureTransport(Transport):
    """A connection with TLS that has not taken some of what it was sent.

    It is a fake because Python's client cannot ask for what TLS itself answers (key updates).
    """

    dataBuffer = b""  # noqa: N815 - Twisted's

    def getPeerCertificate(self) -> None:  # noqa: N802 - Twisted's
        """Have none."""


def test_a_stranger_that_does_not_read_what_tls_answers_is_closed() -> None:
    clock = Clock()
    broker = connected(clock, transport=SecureTransport("192.0.2.1"))

    clock.advance(UNREAD_CHECK)
    assert not is_closed(broker)
    broker.transport.dataBuffer = b"x" * 20_000
    clock.advance(UNREAD_CHECK)

    assert is_closed(broker)


def test_a_worker_that_does_not_read_what_tls_answers_is_not_read_until_it_does() -> None:
    clock = Clock()
    broker = connected(clock, transport=SecureTransport("192.0.2.1"))
    broker.password_was_right()
    broker.transport.dataBuffer = b"x" * 2 * MOST_UNSENT

    clock.advance(UNREAD_CHECK)
    assert broker.transport.producerState == "paused"
    broker.transport.dataBuffer = b""
    clock.advance(UNREAD_REST)

    assert broker.transport.producerState == "producing"
    over: Any = ConnectionDone()
    broker.connectionLost(over)
    assert clock.getDelayedCalls() == []


def test_ports_are_guarded_from_the_moment_that_a_configuration_has_a_pool(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(PBManager, "dispatcher_class", None)

    dispatcher_module.install()

    assert PBManager.dispatcher_class is GuardedDispatcher
