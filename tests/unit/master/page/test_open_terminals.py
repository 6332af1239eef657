# SPDX-License-Identifier: GPL-2.0-only
"""Open terminals: they last as long as the session of their user, and their number is bounded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from buildbot.www import auth
from twisted.internet.defer import Deferred, succeed
from twisted.web.test.requesthelper import DummyRequest

from latent_libvirt.control.frames import CLOSE
from latent_libvirt.master.page import terminal as page
from latent_libvirt.master.page.actions import RefusedError
from latent_libvirt.master.page.resource import TerminalResource
from latent_libvirt.master.page.rights import SILENT_AFTER
from latent_libvirt.master.page.terminal import ASK_EVERY, LOGGED_OUT, MOST, SILENT, WHO, Terminals
from latent_libvirt.upstream import sessions
from pages import PaperMaster, Www, opened


@pytest.fixture
def master() -> Any:
    master: Any = PaperMaster(1)
    master.www = Www()
    return master


@pytest.fixture
def terminals(master: Any) -> Terminals:
    board: Any = SimpleNamespace(pools={"2/main": "main"}, look=lambda: succeed(None))
    audit: Any = SimpleNamespace(note=lambda *_note: None)
    return Terminals(master, audit, board)


def test_a_terminal_stays_while_its_browser_shows_that_its_user_is_logged_in(
    master: Any, terminals: Terminals, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal, done = opened(terminals, master, monkeypatch)

    for _question in range(20):
        master.reactor.advance(ASK_EVERY)
        assert done.pop() == WHO
        terminal.onMessage(sessions.issue(master.www, "olga").encode(), isBinary=False)

    assert not done
    assert terminals._open == {terminal}
    terminal.onClose()
    assert not master.reactor.getDelayedCalls()


@pytest.mark.parametrize("other", ["anonymous", "otto"])
def test_a_terminal_ends_when_its_user_has_logged_out(
    master: Any, terminals: Terminals, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    terminal, done = opened(terminals, master, monkeypatch)

    terminal.onMessage(sessions.issue(master.www, other).encode(), isBinary=False)

    assert LOGGED_OUT.encode() in done[0]
    assert done[1:] == [CLOSE, "lost", 1000]
    assert not terminals._open
    assert not master.reactor.getDelayedCalls()


def test_a_terminal_ends_when_its_browser_shows_nothing_that_counts(
    master: Any, terminals: Terminals, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal, done = opened(terminals, master, monkeypatch)
    claims = {"user_info": {"username": "olga"}, "user": "olga"}
    cookie = jwt.encode(claims, master.www.site.session_secret)
    monkeypatch.setattr(sessions.time, "time", lambda: 1e9)  # type: ignore[attr-defined]
    old = sessions.issue(master.www, "olga")

    for _question in range(int(SILENT_AFTER // ASK_EVERY) + 1):
        for shown in (cookie, old, "x" * sessions.LONGEST, "ü", ""):
            terminal.onMessage(shown.encode(), isBinary=False)
        master.reactor.advance(ASK_EVERY)

    notice, *rest = [each for each in done if each != WHO]
    assert SILENT.encode() in notice
    assert rest == [CLOSE, "lost", 1000]


def test_a_pass_is_no_session_of_buildbots(master: Any) -> None:
    shown = sessions.issue(master.www, "olga")

    assert sessions.user_of(master.www, shown.encode()) == "olga"
    with pytest.raises(KeyError):
        auth.parse_user_info_from_token(shown, master.www.site.session_secret)


def test_terminals_that_are_being_opened_count(
    master: Any, terminals: Terminals, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Deferred[Any]] = []

    def opens(*_asked: object) -> Deferred[Any]:
        begun.append(Deferred())
        return begun[-1]

    monkeypatch.setattr(terminals._elsewhere, "open", opens)
    monkeypatch.setattr(page, "check_origin", lambda *_asked: None)
    found: list[Any] = []

    def ask() -> None:
        request: Any = DummyRequest([b"x"])
        request.getClientAddress = lambda: None
        request.requestHeaders.setRawHeaders(b"upgrade", [b"websocket"])
        Deferred.fromCoroutine(terminals.opening(request, "2/main", "aa")).addBoth(found.append)

    for _user in range(MOST + 3):
        ask()
    assert len(begun) == MOST
    assert [each.value.status for each in found] == [503] * 3

    begun[0].errback(RefusedError(504, "the VM's master does not answer"))
    begun[1].callback(SimpleNamespace(lost=lambda: None))
    begun[2].errback(OSError("the bus is away"))
    found.pop(-2).give_back("the client left")
    for _user in range(4):
        ask()
    assert len(begun) == MOST + 3
    assert found[-1].value.status == 503


@pytest.mark.parametrize(
    ("pool", "role", "status", "says"),
    [
        ("2/main", "operators", 200, "ready"),
        ("2/main", "admins", 403, 'the action \\"terminal\\" in pool main'),
        ("3/main", "operators", 404, "no pool 3/main"),
    ],
)
def test_a_page_learns_why_a_terminal_would_be_refused_and_opens_none(
    master: Any, terminals: Terminals, pool: str, role: str, *, status: int, says: str
) -> None:
    master.config = SimpleNamespace(buildbotURL="http://h/")
    master.www.allow(role)
    request: Any = DummyRequest([b"terminal"])
    request.getClientAddress = lambda: None
    request.args = {b"pool": [pool.encode()], b"vm": [b"aa"], b"look": [b"1"]}
    board: Any = None

    TerminalResource(master, board, terminals).render_GET(request)

    assert request.responseCode == status
    assert says in b"".join(request.written).decode()
    assert not terminals._under_way
