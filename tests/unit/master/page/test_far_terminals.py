# SPDX-License-Identifier: GPL-2.0-only
"""Terminals in VMs of another master: the console gets what is typed, and nothing stays."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

from latent_libvirt.control import vms
from latent_libvirt.control.console import Vm
from latent_libvirt.control.frames import CLOSE, FrameDecoder, Kind
from latent_libvirt.control.vms import Other
from latent_libvirt.host.guests.guest import Guest
from latent_libvirt.master.page import topics
from latent_libvirt.master.page.actions import RefusedError
from latent_libvirt.master.page.far_terminal import MOST, UNSHOWN, TerminalServer
from latent_libvirt.master.page.line import ALIVE_EVERY
from latent_libvirt.master.page.near_terminal import TIMEOUT, NearSession, NearTerminals
from latent_libvirt.status.names import VmNames
from pages import PaperMaster


class Reactor(Clock):
    """A clock whose threads are this one."""

    def callFromThread(self, function: Any, *args: Any) -> None:
        self.callLater(0, function, *args)


class Parrot:
    """A VM that says in capitals what is typed; also the operations of its pool."""

    def __init__(self, reactor: Reactor) -> None:
        self.guest = Guest("latent-libvirt-1", reactor=reactor)
        self.typed = b""
        self.recordings: list[bytes] = []

    async def write_to_console(self, data: bytes) -> None:
        self.typed += data
        self.guest.console.received(data.upper())

    def vm(self, name: str) -> Vm:
        there = Vm(VmNames("latent-libvirt-1", "alpha", "aa"), self, self.recordings.append)
        frozen = Other(VmNames("latent-libvirt-1", "alpha", "ff"), "is frozen", "Thaw it.")
        return vms.find([there], name, [frozen])


class Browser:
    """The transport of a session: what a browser is sent."""

    def __init__(self) -> None:
        self.frames = FrameDecoder()
        self.shown: list[tuple[Kind, str]] = []
        self.calls: list[str] = []

    def write(self, data: bytes) -> None:
        self.shown += [(frame.kind, frame.text) for frame in self.frames.feed(data)]

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: FBT001
        """Do nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda: self.calls.append(name)

    @property
    def text(self) -> str:
        return "".join(text for kind, text in self.shown if kind is Kind.OUTPUT)


@pytest.fixture
def ui() -> PaperMaster:
    return PaperMaster(1, reactor=Reactor())


@pytest.fixture
def parrot(ui: PaperMaster) -> Parrot:
    return Parrot(ui.reactor)  # type: ignore[arg-type]  # it is a Reactor


@pytest.fixture
def server(ui: PaperMaster, parrot: Parrot) -> TerminalServer:
    server = TerminalServer(ui.other(2), "main", parrot)  # type: ignore[arg-type]  # VMs are enough
    Deferred.fromCoroutine(server.start())
    return server


class Asked:
    """What became of asking for a terminal."""

    def __init__(self, near: NearTerminals, vm: str = "aa", pool: str = "main") -> None:
        self.sessions: list[NearSession] = []
        self.refusals: list[tuple[int, str]] = []
        asked = Deferred.fromCoroutine(near.open(2, pool, vm, "olga"))
        asked.addCallbacks(self.sessions.append, self._refused)

    def _refused(self, failure: Any) -> None:
        failure.trap(RefusedError)
        self.refusals.append((failure.value.status, failure.value.why))


def opened(near: NearTerminals) -> tuple[NearSession, Browser]:
    (session,) = Asked(near).sessions
    browser = Browser()
    session.begin(browser)
    return session, browser


def test_what_is_typed_arrives_and_what_is_said_comes_back_and_nothing_stays(
    ui: PaperMaster, parrot: Parrot, server: TerminalServer
) -> None:
    near = NearTerminals(ui)
    session, browser = opened(near)

    session.resized(100, 40)
    for piece in (b"hello ", b"world"):
        session.received(piece)
    ui.reactor.advance(0)

    assert browser.text == "HELLO WORLD"
    assert browser.calls.count("pauseProducing") == browser.calls.count("resumeProducing") == 2
    session.received(CLOSE)
    session.lost()
    ui.reactor.pump([0.2] * 50)
    assert parrot.typed == b"hello world" + CLOSE, "the shell ends, once"
    assert (server._open, near._open, len(parrot.guest.console._watches)) == ({}, {}, 0)
    assert b'"100x40"' in parrot.recordings[0]
    assert ui.reactor.getDelayedCalls() == []


def test_another_terminal_is_given_a_notice_of_who_has_left(
    ui: PaperMaster, parrot: Parrot, server: TerminalServer
) -> None:
    near = NearTerminals(ui)
    leaver, _gone = opened(near)
    _session, browser = opened(near)

    leaver.received(CLOSE)
    leaver.lost()
    ui.reactor.pump([0.2] * 50)

    (notice,) = [text for kind, text in browser.shown if kind is Kind.NOTICE]
    assert notice.startswith("User olga has left a terminal of this VM")


def test_the_end_of_the_vm_and_the_stop_of_its_master_are_told(
    ui: PaperMaster, parrot: Parrot, server: TerminalServer
) -> None:
    near = NearTerminals(ui)
    _session, first = opened(near)
    parrot.guest.console.finish("the parrot has flown")
    ui.reactor.advance(0)
    assert (Kind.END, "the parrot has flown") in first.shown
    assert first.calls[-1] == "loseConnection"

    parrot.guest = Guest("latent-libvirt-1", reactor=ui.reactor)
    _session, second = opened(near)
    Deferred.fromCoroutine(server.stop())
    ui.reactor.pump([0.2] * 50)

    assert second.shown[-1] == (Kind.NOTICE, "the pool's master stops")
    assert (server._open, near._open) == ({}, {})
    assert ui.reactor.getDelayedCalls() == []


def test_a_browser_that_shows_nothing_gets_only_so_much(
    ui: PaperMaster, parrot: Parrot, server: TerminalServer
) -> None:
    session, browser = opened(NearTerminals(ui))
    session.pauseProducing()

    for _piece in range(100):
        parrot.guest.console.received(b"x" * 32 * 1024)
        ui.reactor.advance(0)

    assert server._open
    assert UNSHOWN <= len(browser.text) <= UNSHOWN + 64 * 1024
    session.resumeProducing()
    notices = [text for kind, text in browser.shown if kind is Kind.NOTICE]
    assert any("bytes dropped" in text for text in notices)


def test_a_ui_whose_master_dies_leaves_no_shell(
    ui: PaperMaster, parrot: Parrot, server: TerminalServer
) -> None:
    session, _browser = opened(NearTerminals(ui))
    session.line._send = lambda _message: None  # its process is gone

    ui.reactor.pump([ALIVE_EVERY] * 5 + [0.2] * 50)

    assert not server._open
    assert parrot.typed == CLOSE


@pytest.mark.usefixtures("server")
def test_what_cannot_be_opened_is_refused_with_the_reason(ui: PaperMaster) -> None:
    near = NearTerminals(ui)

    ((status, why),) = Asked(near, vm="nothing").refusals
    assert (status, why[:32]) == (404, "there is no VM called 'nothing'.")
    frozen = "VM latent-libvirt-1@alpha (id ff) is frozen. Thaw it"
    assert Asked(near, vm="ff").refusals == [(404, frozen)]
    elsewhere = Asked(near, pool="other")
    ui.reactor.advance(TIMEOUT + 1)
    assert elsewhere.refusals == [(504, "the VM's master does not answer")]
    for _time in range(MOST):
        assert Asked(near).sessions
    ((status, why),) = Asked(near).refusals
    assert (status, why) == (404, f"{MOST} terminals are open in pool main already")


def test_a_terminal_that_never_begins_is_forgotten(
    ui: PaperMaster, server: TerminalServer, parrot: Parrot
) -> None:
    near = NearTerminals(ui)
    assert Asked(near).sessions

    ui.reactor.pump([ALIVE_EVERY] * 5)

    assert (server._open, near._open) == ({}, {})
    assert parrot.typed == b""


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    "message",
    [
        None,
        {"id": 3},
        {"id": "a", "data": "x"},
        {"id": "a", "pool": "main"},
        {"id": "a", "pool": "main", "asked_by": 1, "vm": "aa", "key": "zz"},
        {"id": "a", "pool": "main", "asked_by": "me", "vm": "aa", "key": "00"},
    ],
)
def test_messages_that_make_no_sense_open_nothing(
    ui: PaperMaster, server: TerminalServer, message: Any
) -> None:
    ui.mq.produce(("latent_libvirt", "terminals", "2"), message)

    assert not server._open


@pytest.mark.usefixtures("server")
def test_a_message_bus_that_was_away_is_listened_to_by_the_next_terminal(
    ui: PaperMaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bus is replaced: a real one cannot be made to refuse one subscription and take the next.

    Two ask at once, and the answers come to both.
    """
    near, consume, outcomes = NearTerminals(ui), ui.mq.startConsuming, [fail(OSError("away"))]

    def start(*args: Any) -> Any:
        return outcomes.pop() if outcomes else consume(*args)

    monkeypatch.setattr(ui.mq, "startConsuming", start)
    refused: list[object] = []
    Deferred.fromCoroutine(near.open(2, "main", "aa", "olga")).addErrback(refused.append)
    assert refused

    waiting: Deferred[None] = Deferred()
    outcomes.append(waiting.addCallback(lambda _: consume(near._take, topics.screens(1))))
    asked = [Asked(near), Asked(near)]
    waiting.callback(None)

    assert [len(each.sessions) for each in asked] == [1, 1]
