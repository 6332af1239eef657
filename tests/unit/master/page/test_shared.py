# SPDX-License-Identifier: GPL-2.0-only
"""Documents that pages share: each is encoded once, and says what the board says."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults
from twisted.web.test.requesthelper import DummyRequest

from latent_libvirt.master.page import rights, shared
from latent_libvirt.master.page.board import Board
from latent_libvirt.master.page.resource import PoolsResource
from latent_libvirt.master.page.rows import Rows
from latent_libvirt.master.page.shared import KEPT_FOR, LARGE, MOST_KEPT, SharedDocuments
from pages import PageOnPaper, PaperMaster, published

SMALL: Rows = {"pool": {"": {"used": 1}}}
BIG: Rows = SMALL | {"vms": {str(n): {"worker": f"w-{n}"} for n in range(LARGE)}}


class Shown:
    """A board with a pool, and how often a document of it was encoded."""

    def __init__(self, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows = rows
        self.encodings = 0
        self.master = PaperMaster(1)
        published(self.master, lambda: self.rows)
        page = PageOnPaper(self.master)
        page.open()
        self.board: Board = page.board
        self.documents = SharedDocuments(self.board, self.master.reactor)
        original = shared.encoded
        monkeypatch.setattr(shared, "encoded", lambda document: self._encoded(original, document))

    def _encoded(self, original: Any, document: dict[str, Any]) -> Any:
        self.encodings += 1
        return original(document)

    def changes(self, rows: Rows) -> None:
        """Let the pool be another one."""
        self.rows = rows
        self.master.reactor.pump([0.5, 0.3])

    def asked(self, since: int = 0) -> Deferred[Any]:
        """Return what a page gets that has that version."""
        return Deferred.fromCoroutine(self.documents.newer(self.board.id, since))


@pytest.mark.parametrize("rows", [SMALL, BIG])
@pytest_twisted.ensureDeferred  # type: ignore[misc, unused-ignore]
async def test_pages_that_ask_for_the_same_share_one_encoding(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = Shown(rows, monkeypatch)

    found = await gatherResults([shown.asked() for _ in range(20)])

    assert shown.encodings == 1
    assert len({id(each) for each in found}) == 1
    assert gzip.decompress(found[0].compressed) == found[0].plain
    document = json.loads(found[0].plain)
    assert document["pools"]["1/pool"]["set"] == rows
    assert document["version"] == shown.board.version


@pytest_twisted.ensureDeferred  # type: ignore[misc, unused-ignore]
async def test_what_is_newer_is_never_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Shown(BIG, monkeypatch)
    before = shown.asked()  # it is being encoded
    version = shown.board.version

    shown.changes({"pool": {"": {"used": 2}}, "vms": BIG["vms"]})
    whole, newer = (
        json.loads((await shown.asked()).plain),
        json.loads((await shown.asked(version)).plain),
    )

    assert json.loads((await before).plain)["pools"]["1/pool"]["set"] == BIG
    assert whole["pools"]["1/pool"]["set"] == shown.rows
    assert newer["pools"]["1/pool"]["set"] == {"pool": shown.rows["pool"]}
    assert not newer["pools"]["1/pool"]["all"]


def test_a_document_has_the_time_and_is_not_sent_when_that_is_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = Shown(SMALL, monkeypatch)

    shown.asked()
    shown.master.reactor.advance(KEPT_FOR)
    shown.asked()

    assert shown.encodings == 2


def test_a_client_that_asks_for_all_versions_fills_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = Shown(SMALL, monkeypatch)
    monkeypatch.setattr(shown.board, "_version", 10 * MOST_KEPT)

    for since in range(10 * MOST_KEPT):
        shown.asked(since)

    assert len(shown.documents._made) <= MOST_KEPT


def test_a_failure_is_not_shared_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Shown(SMALL, monkeypatch)
    good, failures, found = shared.encoded, list[Any](), list[Any]()
    monkeypatch.setattr(shared, "encoded", lambda _document: 1 / 0)
    shown.asked().addErrback(failures.append)

    monkeypatch.setattr(shared, "encoded", good)
    shown.asked().addCallback(found.append)

    assert [each.type for each in failures] == [ZeroDivisionError]
    assert json.loads(found[0].plain)["pools"]["1/pool"]["set"] == SMALL


@pytest.mark.parametrize(
    ("accepted", "is_gzip"),
    [
        *((None, False), (b"", False), (b"identity", False), (b"br", False), (b"x-gzip", False)),
        *((b"gzip", True), (b"gzip, deflate, br, zstd", True), (b"br;q=1.0, GZIP;q=0.8", True)),
        *((b"gzip;q=0", False), (b"gzip; q=0.000, br", False), (b"deflate,gzip; q=0.1", True)),
    ],
)
def test_it_is_compressed_for_clients_that_take_that(
    monkeypatch: pytest.MonkeyPatch, accepted: bytes | None, *, is_gzip: bool
) -> None:
    async def allowed(*_asked: object) -> None:
        """Allow everything."""

    monkeypatch.setattr(rights, "check_read", allowed)
    shown = Shown(SMALL, monkeypatch)
    master: Any = shown.master
    master.www = None
    request: Any = DummyRequest([b"pools"])
    if accepted is not None:
        request.requestHeaders.setRawHeaders(b"accept-encoding", [accepted])

    PoolsResource(master, shown.board).render_GET(request)

    body = b"".join(request.written)
    headers = {name.lower(): values for name, values in request.responseHeaders.getAllRawHeaders()}
    assert headers[b"content-length"] == [str(len(body)).encode()]
    assert headers[b"vary"] == [b"accept-encoding"]
    assert headers.get(b"content-encoding") == ([b"gzip"] if is_gzip else None)
    document = json.loads(gzip.decompress(body) if is_gzip else body)
    assert document["pools"]["1/pool"]["set"] == SMALL
