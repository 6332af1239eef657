# SPDX-License-Identifier: GPL-2.0-only
"""What waits, asked of a real database with Buildbot's own tables, again and again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy
from buildbot.plugins import util
from sqlalchemy.pool import StaticPool
from twisted.internet import defer, reactor
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, formatEvent, globalLogPublisher
from zope.interface import implementer

import memory_database
from latent_libvirt.master.queue import waiting as waiting_module
from latent_libvirt.master.queue.build_requests import WaitingRequest
from latent_libvirt.master.queue.queues import (
    UNDECIDED,
    Queue,
)
from latent_libvirt.master.queue.waiting import WaitingRequests
from latent_libvirt.master.queue.why_waiting import Explainer, Explanation
from latent_libvirt.master.workers.worker import LibvirtLatentWorker
from latent_libvirt.pool.reasons import Reason
from latent_libvirt.status.queue import KINDS
from request_tables import RequestTables


@pytest.fixture
def engine() -> Iterator[sqlalchemy.Engine]:
    one: dict[str, Any] = {"poolclass": StaticPool, "connect_args": {"check_same_thread": False}}
    engine = memory_database.engine(**one)
    yield engine
    engine.dispose()


class Silent(Explainer):
    """Explains nothing: why requests wait is tested in test_why_waiting.py."""

    def __init__(self) -> None:
        """Ask no master and no pool."""

    async def explain(self, _requests: list[WaitingRequest]) -> tuple[Explanation, ...]:
        return ()


class Held(Silent):
    """Says of all requests that the same holds them."""

    text = "label debian-12 is drained"

    async def explain(self, requests: list[WaitingRequest]) -> tuple[Explanation, ...]:
        return tuple(Explanation(each, (), Reason("drained", self.text)) for each in requests)


def a_master(engine: sqlalchemy.Engine) -> Any:
    """Return what is asked of a master; its database answers in a thread, as Buildbot's does."""

    def ask(question: Any) -> Any:
        with engine.connect() as connection:
            return question(connection)

    workers = {
        "debian-12-1": LibvirtLatentWorker("debian-12-1", label="debian-12", pool="here"),
        "by-hand": LibvirtLatentWorker("by-hand", label=util.Property("label"), pool="here"),
        "elsewhere-1": LibvirtLatentWorker("elsewhere-1", label="debian-12", pool="there"),
        "bare-metal": SimpleNamespace(),
    }
    builders = {
        "check": ["debian-12-1", "bare-metal"],
        "any": ["by-hand"],
        "other": ["elsewhere-1", "bare-metal"],
    }
    return SimpleNamespace(
        reactor=reactor,
        db=SimpleNamespace(pool=SimpleNamespace(do=lambda question: deferToThread(ask, question))),
        workers=SimpleNamespace(workers=workers),
        botmaster=SimpleNamespace(
            builders={
                name: SimpleNamespace(config=SimpleNamespace(workernames=names))
                for name, names in builders.items()
            }
        ),
    )


@pytest_twisted.ensureDeferred
async def test_the_queues_are_those_of_the_labels_of_the_pools_own_workers(
    engine: sqlalchemy.Engine,
) -> None:
    with engine.begin() as connection:
        requests = RequestTables(connection)
        for builder in ("check", "any", "other", "of another master"):
            requests.add(builder, 100)
            requests.add(builder, 200, priority=5)
    waiting = WaitingRequests(a_master(engine), "here", Silent())
    assert waiting.current is None

    await waiting.refresh()

    assert waiting.current == {"debian-12": Queue(2, 100.0), UNDECIDED: Queue(2, 100.0)}


@pytest_twisted.ensureDeferred
async def test_a_queue_and_its_requests_wait_from_the_end_of_a_build_that_was_lost(
    engine: sqlalchemy.Engine,
) -> None:
    with engine.begin() as connection:
        requests = RequestTables(connection)
        requests.add("check", 100)
        requests.built(1, 150, 400)
        requests.built(1, 150, 300)
        requests.add("any", 200)
        requests.built(2, 250, None)
    waiting = WaitingRequests(a_master(engine), "here", Held())

    await waiting.refresh()

    assert waiting.current == {"debian-12": Queue(1, 400.0), UNDECIDED: Queue(1, 200.0)}
    assert [each.request.since for each in waiting.explanations] == [400.0, 200.0]


class OfKinds(Silent):
    """Says of each request that something of another kind holds it."""

    async def explain(self, requests: list[WaitingRequest]) -> tuple[Explanation, ...]:
        return tuple(
            Explanation(request, (kind,), Reason(kind, "because"))
            for request, kind in zip(requests, KINDS, strict=True)
        )


@pytest_twisted.ensureDeferred
async def test_requests_that_need_only_room_or_their_turn_are_the_next(
    engine: sqlalchemy.Engine,
) -> None:
    with engine.begin() as connection:
        RequestTables(connection).add("check", 100, count=len(KINDS))
    waiting = WaitingRequests(a_master(engine), "here", OfKinds())
    assert waiting.labels_of_next == frozenset()

    await waiting.refresh()

    assert waiting.labels_of_next == {"cap", "host", "next"}


@pytest_twisted.ensureDeferred
async def test_the_log_says_why_requests_wait_for_long_and_again_when_the_reason_changes(
    engine: sqlalchemy.Engine,
) -> None:
    with engine.begin() as connection:
        requests = RequestTables(connection)
        requests.add("check", 100, count=3)
        requests.add("any", int(time.time()))
    explainer = Held()
    waiting = WaitingRequests(a_master(engine), "here", explainer)
    said: list[str] = []
    with logged(said):
        await waiting.refresh()
        await waiting.refresh()
        explainer.text = "lock a is held by check #1"
        await waiting.refresh()

    assert [line.split(": ", 2)[-1] for line in said] == [
        "label debian-12 is drained",
        "lock a is held by check #1",
    ]
    assert "pool here: request 1 of builder check has waited for" in said[0]


@contextmanager
def logged(said: list[str]) -> Iterator[None]:
    """Note what is logged for the length of a ``with`` block."""

    @implementer(ILogObserver)
    def observer(event: dict[str, Any]) -> None:
        said.append(formatEvent(event))

    globalLogPublisher.addObserver(observer)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observer)


@pytest_twisted.ensureDeferred
async def test_a_database_that_fails_is_asked_again_and_old_answers_are_not_believed(
    monkeypatch: pytest.MonkeyPatch, engine: sqlalchemy.Engine
) -> None:
    monkeypatch.setattr(waiting_module, "INTERVAL", 0.01)
    monkeypatch.setattr(waiting_module, "STALE_AFTER", 0.0)
    master, answers = a_master(engine), []
    twice = defer.Deferred[None]()

    def fail(_question: Any) -> Any:
        answers.append(1)
        if len(answers) == 2:
            twice.callback(None)
        return defer.fail(RuntimeError("no database"))

    waiting = WaitingRequests(master, "here", Silent())
    await waiting.refresh()
    master.db.pool.do = fail
    waiting.start()
    await twice.addTimeout(60, reactor)
    await waiting.stop()

    assert waiting.current is None
