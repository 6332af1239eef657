# SPDX-License-Identifier: GPL-2.0-only
"""An operator's session, and what it does to the connection it is on."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from latent_libvirt.control.console import CLOSED, FLOODED, FULL, ConsoleSession, Vm
from latent_libvirt.control.frames import CLOSE, Frame, FrameDecoder, Kind
from latent_libvirt.control.messages import ConsoleOpened
from latent_libvirt.control.typed import MOST, PIECE
from latent_libvirt.errors import GuestError
from latent_libvirt.host.guests.console import BACKLOG_BYTES, MOST_NOTICES
from latent_libvirt.host.guests.guest import Guest
from latent_libvirt.status.names import VmNames
from synchronous import Reactor

NAMES = VmNames("latent-libvirt-1", "alpha", "aa")


class AMachine:
    """A VM that takes what is typed when the test says so."""

    def __init__(self, reactor: Reactor) -> None:
        self.guest = Guest("latent-libvirt-1", reactor=reactor)
        self.typed: list[bytes] = []
        self.taken: Deferred[None] = Deferred()

    async def write_to_console(self, data: bytes) -> None:
        self.typed.append(data)
        await self.taken


class Transport:
    """What Twisted would send, and whether it would read."""

    def __init__(self) -> None:
        self.sent = b""
        self.reads = True
        self.open = True
        self.producer: object = None

    def registerProducer(self, producer: object, *, streaming: bool) -> None:
        assert streaming
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def pauseProducing(self) -> None:
        self.reads = False

    def resumeProducing(self) -> None:
        assert self.open
        self.reads = True

    def loseConnection(self) -> None:
        assert self.producer is None  # or Twisted would wait for it
        self.open = False

    def write(self, data: bytes) -> None:
        assert self.open
        self.sent += data

    def frames(self) -> list[Frame]:
        sent, self.sent = self.sent, b""
        return FrameDecoder().feed(sent)


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


@pytest.fixture
def machine(reactor: Reactor) -> AMachine:
    return AMachine(reactor)


@pytest.fixture
def transport() -> Transport:
    return Transport()


def begun(machine: AMachine, transport: Transport, *, read_only: bool = False) -> ConsoleSession:
    session = ConsoleSession(Vm(NAMES, machine), read_only=read_only)
    session.begin(transport)
    return session


def say(machine: AMachine, reactor: Reactor, data: bytes) -> None:
    machine.guest.console.received(data)
    reactor.advance(0)


def test_a_session_that_may_type_is_recorded_until_its_connection_is_gone(
    machine: AMachine, transport: Transport, reactor: Reactor
) -> None:
    kept: list[bytes] = []
    watching = ConsoleSession(Vm(NAMES, machine, kept.append), read_only=True)
    session = ConsoleSession(Vm(NAMES, machine, kept.append), read_only=False)
    for each in (watching, session):
        each.begin(transport)
    say(machine, reactor, b"hello")
    for each in (watching, session):
        each.lost()
        each.lost()

    (recording,) = kept
    assert recording.endswith(b', "o", "hello"]\n')


@pytest.mark.parametrize("flood", ["output", "sizes"])
def test_a_session_whose_recording_is_full_ends(
    machine: AMachine, transport: Transport, reactor: Reactor, flood: str
) -> None:
    kept: list[bytes] = []
    session = ConsoleSession(Vm(NAMES, machine, kept.append), read_only=False)
    session.begin(transport)

    for number in range(100_000):
        if not transport.open:
            break
        if flood == "sizes":
            session.resized(100 + number % 2, 50)
        else:
            say(machine, reactor, b"x" * 10_000)

    assert transport.frames()[-1] == Frame(Kind.CLOSED, FULL.encode())
    assert b"the rest is not recorded" in kept[0][-100:]


def test_it_says_whose_console_it_is(machine: AMachine) -> None:
    session = ConsoleSession(Vm(NAMES, machine), read_only=True)

    assert session.result == ConsoleOpened("latent-libvirt-1@alpha (id aa)", read_only=True)


def test_it_sends_what_was_said_last_and_what_is_said(
    machine: AMachine, transport: Transport, reactor: Reactor
) -> None:
    say(machine, reactor, b"before")
    begun(machine, transport)
    say(machine, reactor, b"after")

    assert transport.frames() == [Frame(Kind.OUTPUT, b"before"), Frame(Kind.OUTPUT, b"after")]


def test_an_operator_who_does_not_keep_up_gets_the_newest_and_is_told(
    machine: AMachine, transport: Transport, reactor: Reactor
) -> None:
    session = begun(machine, transport)
    session.pauseProducing()
    for _ in range(3):
        say(machine, reactor, b"x" * BACKLOG_BYTES)
    assert transport.sent == b""

    session.resumeProducing()

    notice, output = transport.frames()
    assert notice == Frame(Kind.NOTICE, f"... {2 * BACKLOG_BYTES} bytes dropped".encode())
    assert len(output.content) == BACKLOG_BYTES


def test_what_is_typed_goes_to_the_vm_one_piece_after_the_other(
    machine: AMachine, transport: Transport
) -> None:
    session = begun(machine, transport)

    session.received(b"ls\r")
    assert (machine.typed, transport.reads) == ([b"ls\r"], False)

    machine.taken.callback(None)
    assert transport.reads


def test_what_the_vm_does_not_take_is_told_and_ends_nothing(
    machine: AMachine, transport: Transport, reactor: Reactor
) -> None:
    session = begun(machine, transport)
    session.received(b"ls\r")
    machine.taken.errback(GuestError("VM x did not take what was typed"))
    say(machine, reactor, b"hello")

    assert transport.reads
    assert transport.frames() == [
        Frame(Kind.NOTICE, b"VM x did not take what was typed"),
        Frame(Kind.OUTPUT, b"hello"),
    ]


def test_who_only_watches_types_nothing(machine: AMachine, transport: Transport) -> None:
    begun(machine, transport, read_only=True).received(b"rm -rf /\r")

    assert machine.typed == []
    assert transport.reads


def test_the_end_of_the_vm_ends_it_after_its_last_words(
    machine: AMachine, transport: Transport, reactor: Reactor
) -> None:
    begun(machine, transport)
    machine.guest.ended("its domain crashed", at_once=True)
    say(machine, reactor, b"Kernel panic")
    reactor.advance(0)

    assert transport.frames() == [
        Frame(Kind.OUTPUT, b"Kernel panic"),
        Frame(Kind.END, b"its domain crashed"),
    ]
    assert not transport.open


def test_the_end_waits_for_an_operator_who_does_not_keep_up(
    machine: AMachine, transport: Transport, reactor: Reactor
) -> None:
    session = begun(machine, transport)
    session.pauseProducing()
    machine.guest.console.finish("it is over")
    reactor.advance(0)
    assert (transport.sent, transport.open) == (b"", True)

    session.resumeProducing()

    assert transport.frames() == [Frame(Kind.END, b"it is over")]


def test_a_lost_connection_is_let_alone_whatever_comes(
    machine: AMachine, transport: Transport, reactor: Reactor
) -> None:
    session = begun(machine, transport)
    session.received(b"ls\r")
    session.stopProducing()
    session.lost()
    transport.open = False

    machine.taken.callback(None)
    say(machine, reactor, b"hello")
    machine.guest.console.finish("it is over")
    reactor.advance(0)

    assert transport.sent == b""


def test_nothing_is_typed_after_the_connection_is_gone_but_the_end_of_the_shell(
    machine: AMachine, transport: Transport, reactor: Reactor
) -> None:
    session = begun(machine, transport)
    for _ in range(3_000):
        session.received(CLOSE)
    for _ in range(3_000):
        session.received(b"ls\r")
    session.received(CLOSE)
    session.lost()
    transport.open = False
    for data in (b"rm -rf /\r", CLOSE, CLOSE):
        session.received(data)
    machine.taken.callback(None)
    reactor.pump([0.2] * 100)

    assert machine.typed == 2 * [CLOSE[:1], CLOSE[1:]]
    assert machine.guest.console._watches == set()
    assert reactor.getDelayedCalls() == []


def test_what_is_typed_faster_than_the_guest_takes_it_is_joined(
    machine: AMachine, transport: Transport
) -> None:
    session = begun(machine, transport)
    for _ in range(10_000):
        session.received(b"x")
    machine.taken.callback(None)

    assert machine.typed == [b"x", b"x" * 9_999]
    assert (transport.reads, transport.open) == (True, True)


def test_a_connection_that_brings_more_and_more_is_ended(
    machine: AMachine, transport: Transport, reactor: Reactor
) -> None:
    session = begun(machine, transport)
    for _ in range(2 * MOST):
        session.received(b"x" * PIECE)
    machine.taken.callback(None)

    assert transport.frames() == [Frame(Kind.CLOSED, FLOODED.encode())]
    assert not transport.open
    assert machine.typed == [b"x" * PIECE]


def test_a_shell_that_cannot_be_ended_leaves_no_watch(
    machine: AMachine, transport: Transport, reactor: Reactor
) -> None:
    session = begun(machine, transport)
    machine.taken.errback(GuestError("VM x has no console"))
    session.received(CLOSE)
    say(machine, reactor, b"hello")

    assert len(machine.guest.console._watches) == 1, "its own"
    session.lost()
    assert machine.guest.console._watches == set()
    assert reactor.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("user", "who"), [("ada", "User ada"), ("", "Somebody"), ("a\x1b[2Jb", r"User a\x1b[2Jb")]
)
def test_the_others_are_given_a_notice_of_who_closes_the_shell_before_it_ends(
    machine: AMachine, reactor: Reactor, user: str, who: str
) -> None:
    watcher, other, leaver = Transport(), Transport(), Transport()
    begun(machine, watcher, read_only=True)
    begun(machine, other)
    session = ConsoleSession(Vm(NAMES, machine), read_only=False, user=user)
    session.begin(leaver)
    say(machine, reactor, b"# ")

    session.received(CLOSE)
    reactor.advance(0)
    assert (watcher.frames(), machine.typed) == ([Frame(Kind.OUTPUT, b"# ")], [CLOSE[:1]])
    machine.taken.callback(None)
    reactor.advance(0)

    notice = Frame(Kind.NOTICE, CLOSED.format(who=who).encode())
    assert machine.typed == [CLOSE[:1]], "the shell is still there"
    assert watcher.frames() == [notice]
    assert other.frames()[-1] == notice
    assert leaver.frames() == [Frame(Kind.OUTPUT, b"# ")]
    reactor.pump([0.2] * 100)
    assert machine.typed == [CLOSE[:1], CLOSE[1:]]


def test_a_shell_that_did_not_take_the_keys_is_not_said_to_be_closed(
    machine: AMachine, transport: Transport, reactor: Reactor
) -> None:
    begun(machine, transport)
    leaver = begun(machine, Transport())
    machine.taken.errback(GuestError("VM x has no console"))
    leaver.received(CLOSE)
    reactor.pump([0.2] * 100)

    assert transport.frames() == []


def test_who_does_not_keep_up_gets_the_last_notices_after_the_output(
    machine: AMachine, transport: Transport, reactor: Reactor
) -> None:
    session = begun(machine, transport)
    session.pauseProducing()
    machine.taken.callback(None)
    for number in range(2 * MOST_NOTICES):
        leaver = ConsoleSession(Vm(NAMES, machine), read_only=False, user=str(number))
        leaver.begin(Transport())
        leaver.received(CLOSE)
        reactor.pump([0.2] * 100)
    say(machine, reactor, b"hello")
    assert transport.sent == b""

    session.resumeProducing()

    output, *notices = transport.frames()
    assert output == Frame(Kind.OUTPUT, b"hello")
    assert [frame.kind for frame in notices] == MOST_NOTICES * [Kind.NOTICE]
    assert notices[-1].text.startswith(f"User {2 * MOST_NOTICES - 1} ")
