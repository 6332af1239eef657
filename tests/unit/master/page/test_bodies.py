# SPDX-License-Identifier: GPL-2.0-only
"""Bodies of requests to the page: all but small JSON is refused before it is stored or parsed."""

from __future__ import annotations

import json
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.resource import Resource
from twisted.web.server import Site

from latent_libvirt.jobs.web.early import Gate, guard
from latent_libvirt.master.page.actions import MOST, ActionsGate

_Failure: Any = Failure  # Twisted has no types for them
_Site: Any = Site
_Resource: Any = Resource
_Transport: Any = StringTransport

FORM = b"application/x-www-form-urlencoded"
PARTS = b"multipart/form-data; boundary=x"
JSON = b"application/json; charset=utf-8"
OURS = b"/plugins/latent_libvirt/actions"


class Said(_Resource):  # type: ignore[misc]
    """A resource that answers how much came, and what was parsed."""

    isLeaf = True

    def render(self, request: Any) -> bytes:
        body = request.content.read()
        return json.dumps([len(body), sorted(map(bytes.decode, request.args))]).encode()


class Server:
    """A web server with the gate of the page and that of jobs, and the notes of the audit log."""

    def __init__(self) -> None:
        self.notes: list[tuple[Any, ...]] = []
        self.site = _Site(Said(), reactor=Clock())
        self.site.getSession = lambda _uid: SimpleNamespace(touch=lambda: None)
        www = SimpleNamespace(getUserInfos=lambda request: request.getSession() and {})
        master: Any = SimpleNamespace(www=www)
        for _reconfig in range(3):
            guard(self.site, Gate(lambda: None, is_alone=False))
            guard(self.site, ActionsGate(master, lambda *note: self.notes.append(note)))

    def ask(self, path: bytes, kind: bytes, *pieces: bytes, length: int | None) -> tuple[int, Any]:
        """Send the head of a request, and pieces of its body; return the answer."""
        announced = b"Transfer-Encoding: chunked"
        if length is not None:
            announced = b"Content-Length: %d" % length
        else:
            pieces = tuple(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        head = b"POST %b HTTP/1.1\r\nHost: h\r\nCookie: TWISTED_SESSION=x\r\nContent-Type: %b\r\n%b"
        channel, transport = self.site.buildProtocol(None), _Transport()
        channel.makeConnection(transport)
        channel.dataReceived(head % (path, kind, announced) + b"\r\n\r\n")
        for piece in pieces:
            channel.dataReceived(piece)
        channel.connectionLost(_Failure(ConnectionDone()))
        head, _, body = transport.value().partition(b"\r\n\r\n")
        return (int(head.split()[1]), json.loads(body)) if head else (0, None)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.mark.parametrize("path", [OURS, b"/plugins/%6catent_libvirt/pools?x=y", OURS + b"/x"])
@pytest.mark.parametrize("kind", [FORM, PARTS, b"text/plain", b""])
def test_a_form_is_refused_by_its_head(
    server: Server, monkeypatch: pytest.MonkeyPatch, path: bytes, kind: bytes
) -> None:
    stored: list[object] = []

    def store(size: object) -> BytesIO:
        stored.append(size)
        return BytesIO()

    monkeypatch.setattr(http, "_getContentFile", store)

    status, answer = server.ask(path, kind, length=4_000_000)

    assert (status, "application/json" in answer["error"]) == (415, True)
    assert stored == [0]
    ((facts, outcome, why),) = server.notes
    assert (facts["user"], outcome, why) == ("anonymous", "refused", answer["error"])


def test_a_body_that_is_too_large_is_refused_before_it_is_there(server: Server) -> None:
    assert server.ask(OURS, JSON, length=MOST + 1)[0] == 413
    assert server.ask(OURS, JSON, b" " * MOST, b" ", length=None)[0] == 413
    assert len(server.notes) == 2


def test_what_is_small_and_json_is_read_and_other_paths_are_left_alone(server: Server) -> None:
    assert server.ask(OURS, JSON, b"x" * MOST, length=MOST) == (200, [MOST, []])
    assert server.ask(OURS, b"", length=0) == (200, [0, []])
    assert server.ask(b"/change_hook/base", FORM, b"a=b", length=3) == (200, [3, ["a"]])
    assert not server.notes
    assert len(server.site.requestFactory.keywords["gates"]) == 2
