# SPDX-License-Identifier: GPL-2.0-only
"""What waits, asked of a real database with Buildbot's own tables, again and again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy
from buildbot.db.model import Model
from twisted.internet import defer, reactor
from twisted.internet.threads import deferToThread

from latent_libvirt import waiting as waiting_module
from latent_libvirt.queues import UNDECIDED, Queue
from latent_libvirt.waiting import WaitingRequests
from latent_libvirt.worker import LibvirtLatentWorker
from request_tables import RequestTables


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sqlalchemy.Engine]:
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/state.sqlite")
    Model.metadata.create_all(engine)
    yield engine
    engine.dispose()


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
        requests = RequestTables(connection)
        for builder in ("check", "any", "other", "of another master"):
            requests.add(builder, 100)
            requests.add(builder, 200, priority=5)
    waiting = WaitingRequests(a_master(engine), "here")
    assert waiting.current is None

    await waiting.refresh()

    assert waiting.current == {"debian-12": Queue(2, 100.0), UNDECIDED: Queue(2, 100.0)}


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
