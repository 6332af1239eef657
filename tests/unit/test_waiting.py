# SPDX-License-Identifier: GPL-2.0-only
"""The one question to the database, with Buildbot's own tables in a file of SQLite's."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy
from buildbot.db.model import Model
from sqlalchemy.dialects import postgresql
from twisted.internet import defer, reactor
from twisted.internet.threads import deferToThread

from latent_libvirt import waiting as waiting_module
from latent_libvirt.queues import UNDECIDED, Queue
from latent_libvirt.waiting import QUERY, WaitingRequests, unclaimed
from latent_libvirt.worker import LibvirtLatentWorker

MANY = 25_000
"""Pending requests of buildbot #3395."""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sqlalchemy.Engine]:
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/state.sqlite")
    Model.metadata.create_all(engine)
    yield engine
    engine.dispose()


class Requests:
    """Fills the tables of build requests."""

    def __init__(self, connection: sqlalchemy.Connection) -> None:
        self.connection = connection
        self._ids = itertools.count(1)
        self._insert(Model.buildsets, id=1, submitted_at=0, complete=0, external_idstring="")
        self._insert(Model.masters, id=1, name="m", name_hash="m", active=1, last_active=0)
        self._builders: dict[str, int] = {}

    def add(
        self,
        builder: str,
        submitted_at: int,
        *,
        count: int = 1,
        complete: int = 0,
        claimed: bool = False,
    ) -> None:
        ids = [next(self._ids) for _ in range(count)]
        common = {"buildsetid": 1, "builderid": self._builder(builder), "complete": complete}
        rows = [{"id": id_, "submitted_at": submitted_at, **common} for id_ in ids]
        self.connection.execute(Model.buildrequests.insert(), rows)
        for id_ in ids if claimed else ():
            self._insert(Model.buildrequest_claims, brid=id_, masterid=1, claimed_at=0)

    def _builder(self, name: str) -> int:
        if name not in self._builders:
            number = self._builders[name] = len(self._builders) + 1
            self._insert(Model.builders, id=number, name=name, name_hash=name)
        return self._builders[name]

    def _insert(self, table: sqlalchemy.Table, **values: Any) -> None:
        self.connection.execute(table.insert().values(**values))


@pytest.fixture
def requests(engine: sqlalchemy.Engine) -> Iterator[Requests]:
    with engine.connect() as connection:
        yield Requests(connection)


def test_what_waits_is_neither_claimed_nor_complete(requests: Requests) -> None:
    requests.add("check", 300)
    requests.add("check", 200)
    requests.add("check", 100, claimed=True)
    requests.add("check", 50, complete=1)
    requests.add("docs", 400)
    requests.add("idle", 10, complete=1, claimed=True)

    assert unclaimed(requests.connection) == {"check": Queue(2, 200.0), "docs": Queue(1, 400.0)}


def test_with_25000_requests_the_database_counts_and_tells_a_row_per_builder(
    requests: Requests,
) -> None:
    requests.add("check", 100, count=MANY)
    requests.add("docs", 100, count=10)
    asked: list[str] = []
    sqlalchemy.event.listen(
        requests.connection, "before_cursor_execute", lambda _c, _u, text, *_: asked.append(text)
    )

    assert unclaimed(requests.connection)["check"] == Queue(MANY, 100.0)
    assert len(asked) == 1
    assert len(requests.connection.execute(QUERY).all()) == 2


def test_requests_of_the_past_cost_nothing(requests: Requests) -> None:
    plan = requests.connection.execute(
        sqlalchemy.text(f"EXPLAIN QUERY PLAN {QUERY}"), {"complete_1": 0}
    ).all()

    steps = [row[-1] for row in plan]
    assert any("buildrequests USING INDEX buildrequests_complete" in step for step in steps), steps
    assert not any(step.startswith("SCAN") for step in steps), steps


def test_postgresql_is_asked_in_its_own_words() -> None:
    text = str(
        QUERY.compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call]
    )

    assert "GROUP BY builders.name" in text
    # PostgreSQL refuses what is selected and neither aggregated nor grouped by.
    assert text.startswith("SELECT builders.name, count(*) AS count_1, min(")


def a_master(engine: sqlalchemy.Engine) -> Any:
    """Return what is asked of a master; its database answers in a thread, as Buildbot's does."""

    def ask(question: Any) -> Any:
        with engine.connect() as connection:
            return question(connection)

    workers = {
        "debian-12-1": LibvirtLatentWorker("debian-12-1", label="debian-12", pool="here"),
        "by-hand": LibvirtLatentWorker("by-hand", label=object(), pool="here"),
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
        requests = Requests(connection)
        for builder in ("check", "any", "other", "of another master"):
            requests.add(builder, 100)
    waiting = WaitingRequests(a_master(engine), "here")
    assert waiting.current is None

    await waiting.refresh()

    assert waiting.current == {"debian-12": Queue(1, 100.0), UNDECIDED: Queue(1, 100.0)}


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

    waiting = WaitingRequests(master, "here")
    await waiting.refresh()
    master.db.pool.do = fail
    waiting.start()
    await twice.addTimeout(60, reactor)
    await waiting.stop()

    assert waiting.current is None
