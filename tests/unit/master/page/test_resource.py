# SPDX-License-Identifier: GPL-2.0-only
"""Every request of the page is answered, also one that ends in an error nobody has thought of."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.test.requesthelper import DummyRequest

from latent_libvirt.control.frames import CLOSE
from latent_libvirt.master.page import actions, rights, terminal
from latent_libvirt.master.page.actions import RefusedError
from latent_libvirt.master.page.resource import PageResource, ScreenResource, TerminalResource
from latent_libvirt.master.page.terminal import Opening, Terminals
from pages import Anybody, PaperMaster

NOBODY: Any = None
ANYBODY: Any = Anybody(Clock())

_Failure: Any = Failure  # Twisted has no types for them
_Transport: Any = StringTransport


class Broken:
    """Screens and terminals of a master whose database is away."""

    async def opening(self, *_asked: object) -> None:
        raise OSError("the database is away")

    of_vm = opening


@pytest.mark.parametrize(
    "resource",
    [ScreenResource(NOBODY, NOBODY, Broken()), TerminalResource(NOBODY, NOBODY, Broken())],  # type: ignore[arg-type]
)
def test_an_error_is_answered(resource: Any) -> None:
    request: Any = DummyRequest([b"x"])
    resource.render_GET(request)

    assert (request.responseCode, request.finished) == (500, 1)
    assert "the master's log" in json.loads(b"".join(request.written))["error"]


@pytest.mark.parametrize(
    ("upgrade", "is_opened"), [("", False), ("h2c", False), ("WebSocket", True)]
)
def test_another_master_opens_nothing_for_what_is_no_websocket(
    monkeypatch: pytest.MonkeyPatch, upgrade: str, *, is_opened: bool
) -> None:
    async def allowed(*_asked: object) -> None:
        """Allow everything."""

    monkeypatch.setattr(rights, "check", allowed)
    monkeypatch.setattr(terminal, "check_origin", lambda *_asked: None)
    monkeypatch.setattr(actions, "user_of", lambda *_asked: "olga")
    master: Any = PaperMaster(1)
    master.www = SimpleNamespace(getUserInfos=lambda _request: {})
    board: Any = SimpleNamespace(pools={"2/main": "main"}, look=lambda: succeed(None))
    notes: list[object] = []
    audit: Any = SimpleNamespace(note=lambda *note: notes.append(note))
    terminals = Terminals(master, audit, board)
    opened: list[object] = []

    async def opens(*asked: object) -> None:
        opened.append(asked)

    monkeypatch.setattr(terminals._elsewhere, "open", opens)
    request: Any = DummyRequest([b"x"])
    request.getClientAddress = lambda: None
    request.requestHeaders.setRawHeaders(b"upgrade", [upgrade.encode()])
    refusals: list[Any] = []
    session = Deferred.fromCoroutine(terminals.opening(request, "2/main", "aa"))
    session.addErrback(refusals.append)

    assert bool(opened) is is_opened
    assert [each.check(RefusedError) for each in refusals] == [RefusedError] * (not is_opened)
    assert len(notes) == (not is_opened), "what opens is noted when it is open"


@pytest.mark.parametrize(
    "origin",
    ["http://[", "http://[x]", "//[", "[", "null", "http:", "http://evil.example", "http://h:99"],
)
@pytest.mark.parametrize("host", ["h:80", ""])
def test_an_origin_that_is_another_one_or_none_is_refused(origin: str, host: str) -> None:
    master: Any = SimpleNamespace(config=SimpleNamespace(buildbotURL="http://h:8010/"))
    request: Any = DummyRequest([b"x"])
    request.requestHeaders.setRawHeaders(b"origin", [origin.encode()])
    request.requestHeaders.setRawHeaders(b"host", [host.encode()])

    with pytest.raises(RefusedError) as refusal:
        actions.check_origin(master, request)

    assert refusal.value.status == 403
    for own in (b"http://h:8010", b"https://H:80" if host else b""):
        request.requestHeaders.setRawHeaders(b"origin", [own])
        actions.check_origin(master, request)


METHODS = ("GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "BREW")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("pools", "GET, HEAD"),
        ("waiting", "GET, HEAD"),
        ("usage", "GET, HEAD"),
        ("rights", "GET, HEAD"),
        ("screen", "GET, HEAD"),
        ("actions", "POST"),
        ("terminal", "GET"),
        ("scripts.js", "GET, HEAD"),
    ],
)
def test_a_method_that_a_resource_has_not_is_refused_with_those_it_has(
    tmp_path: Path, path: str, allowed: str
) -> None:
    master: Any = PaperMaster(1)
    master.basedir = str(tmp_path)
    page: Any = PageResource(master, NOBODY)
    for method in set(METHODS) - set(allowed.split(", ")):
        request: Any = DummyRequest([path.encode()])
        request.method = method.encode()
        resource = page.getChildWithDefault(path.encode(), SimpleNamespace(postpath=()))

        assert "error" in json.loads(resource.render(request))
        headers = request.responseHeaders
        assert (request.responseCode, headers.getRawHeaders("allow")) == (405, [allowed])


@pytest.mark.parametrize("method", METHODS)
def test_the_directory_of_the_page_is_nothing(tmp_path: Path, method: str) -> None:
    master: Any = PaperMaster(1)
    master.basedir = str(tmp_path)
    request: Any = DummyRequest([])
    request.method = method.encode()
    PageResource(master, NOBODY).render(request)

    assert request.responseCode == 404


class Connection(_Transport):  # type: ignore[misc]
    """A connection of Twisted's to a client, which keeps what is sent."""

    protocol: Any = None

    def loseConnection(self) -> None:
        self.protocol.connectionLost(_Failure(ConnectionDone()))

    def unregisterProducer(self) -> None:
        """Do nothing: there is none."""


UPGRADE = {
    "Host": "h",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.mark.parametrize(
    ("changed", "answer", "outcome", "why"),
    [
        ({}, b"101", "done", ""),
        ({"Upgrade": None}, b"426", "refused", "HTTP Upgrade header missing"),
        ({"Sec-WebSocket-Key": None}, b"400", "refused", "Sec-WebSocket-Key"),
        ({"Sec-WebSocket-Version": "99"}, b"400", "refused", "version 99"),
    ],
)
def test_a_terminal_that_does_not_open_is_noted_as_refused(
    changed: dict[str, str | None], answer: bytes, outcome: str, why: str
) -> None:
    request: Any = DummyRequest([b"x"])
    request.method, request.uri, request.content = b"GET", b"/terminal", BytesIO()
    for name, value in (UPGRADE | changed).items():
        if value is not None:
            request.requestHeaders.setRawHeaders(name.encode(), [value.encode()])
    connection = Connection()
    request.transport = connection
    request.channel = SimpleNamespace(transport=connection)
    notes: list[tuple[str, ...]] = []
    calls: list[object] = []
    session: Any = SimpleNamespace(
        begin=lambda _transport: calls.append("begin"),
        received=calls.append,
        lost=lambda: calls.append("lost"),
    )

    opening = Opening(session, ANYBODY, lambda *note: notes.append(note), lambda: None)
    Terminals(NOBODY, NOBODY, NOBODY).begin(request, opening)

    assert connection.value().split()[1] == answer
    if outcome == "done":
        assert calls == ["begin"]
        connection.loseConnection()
    ((noted, *reason),) = notes
    assert noted == outcome
    assert why in "".join(reason)
    assert calls == (["begin", CLOSE, "lost"] if outcome == "done" else ["lost"])
