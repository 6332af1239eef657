# SPDX-License-Identifier: GPL-2.0-only
"""Every request of the page is answered, also one that ends in an error nobody has thought of."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.web.test.requesthelper import DummyRequest

from latent_libvirt.master.page import actions, rights, terminal
from latent_libvirt.master.page.actions import RefusedError
from latent_libvirt.master.page.resource import ScreenResource, TerminalResource
from latent_libvirt.master.page.terminal import Terminals
from pages import PaperMaster

NOBODY: Any = None


class Broken:
    """Screens and terminals of a master whose database is away."""

    async def session(self, *_asked: object) -> None:
        raise OSError("the database is away")

    of_vm = session


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
    master.www = None
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
    session = Deferred.fromCoroutine(terminals.session(request, "2/main", "aa"))
    session.addErrback(refusals.append)

    assert bool(opened) is is_opened
    assert [each.check(RefusedError) for each in refusals] == [RefusedError] * (not is_opened)
    assert len(notes) == 1
