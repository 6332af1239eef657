# SPDX-License-Identifier: GPL-2.0-only
"""Workers of a large pool, which exist once they are of use; a real master."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_twisted
import sqlalchemy
from buildbot.plugins import util
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, formatEvent, globalLogPublisher

from latent_libvirt import Pool
from latent_libvirt.config import PoolConfig
from latent_libvirt.master.workers import possible
from latent_libvirt.master.workers.possible import AT_FIRST
from master_in_process import Running, master_running, reactor

FEW, MANY = 1_000, 5_000


def pool_of(most: int) -> dict[str, Any]:
    return {
        "master": {"max_vms": most, "address": "127.0.0.1"},
        "hosts": {"here": {"uri": "test:///default", "slots": 1_000, "storage_pool": "x"}},
        "labels": {"a": {"image": "debian-12"}},
    }


def _builder(name: str, workers: list[str]) -> Any:
    return util.BuilderConfig(
        name, workernames=workers, factory=util.BuildFactory(), collapseRequests=False
    )


def _two_builders(pool: Pool) -> dict[str, Any]:
    """Configure two builders that share no worker."""
    names = pool.worker_names("a")
    return {
        "workers": pool.workers(),
        "builders": [_builder("first", names[:500]), _builder("second", names[500:])],
    }


@asynccontextmanager
async def running(
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    most: int = FEW,
    configure: Callable[[Pool], dict[str, Any]] = _two_builders,
) -> AsyncIterator[Running]:
    async with master_running(directory, monkeypatch, pool_of(most), configure) as found:
        yield found


def existing(found: Running) -> dict[str, Any]:
    workers: dict[str, Any] = found.master.workers.namedServices
    return workers


def free(found: Running, builder: str) -> list[Any]:
    """Return the workers of a builder that Buildbot could give a build."""
    workers = found.master.botmaster.builders[builder].workers
    return [each for each in workers if each.worker.is_free]


@pytest.fixture
def logged() -> Iterator[list[str]]:
    found: list[str] = []

    def observer(event: Any) -> None:
        found.append(formatEvent(event))

    globalLogPublisher.addObserver(cast("ILogObserver", observer))
    yield found
    globalLogPublisher.removeObserver(cast("ILogObserver", observer))


async def _statements(
    directory: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> tuple[int, int]:
    """Start a master; return how many workers exist, and how many statements that took."""
    counted: list[str] = []

    def asked(_connection: object, _cursor: object, text: str, *_more: object) -> None:
        counted.append(text)

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", asked)
    try:
        async with running(directory, monkeypatch, most) as found:
            return len(existing(found)), len(counted)
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", asked)


@pytest_twisted.ensureDeferred
async def test_the_start_of_a_master_does_not_depend_on_how_many_vms_might_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = await _statements(tmp_path, monkeypatch, FEW)
    many = await _statements(tmp_path, monkeypatch, MANY)

    assert few[0] == many[0] == AT_FIRST
    # Some statements depend on the time, as those of loops do.
    assert many[1] < few[1] + AT_FIRST


@pytest_twisted.ensureDeferred
async def test_any_number_of_builds_find_their_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, monkeypatch) as found:
        for _ in range(60):
            await found.request("second")
        await found.until(lambda: len(found.started) == 60)
        await found.until(lambda: free(found, "second"))

        assert len(existing(found)) < 120
        await found.request("first")
        await found.until(lambda: len(found.started) == 61)
        workers = [row.name for row in await found.master.db.workers.getWorkers()]
        assert sorted(workers) == sorted(existing(found))


async def _burst(found: Running, count: int) -> None:
    """Have builds of the builder "second" begin and end, and all their workers be free again."""
    begun = len(found.started)
    for _ in range(count):
        await found.request("second")
    await found.until(lambda: len(found.started) == begun + count)
    second = found.master.botmaster.builders["second"]
    for build in tuple(second.building):
        await build.stopBuild("the test wants so")
    await found.until(lambda: not second.building)
    await found.until(lambda: len(free(found, "second")) == len(second.workers))


def _refers(found: Running) -> dict[str, int]:
    """Return how many things of each kind there are for the workers that exist."""
    master = found.master
    return {
        "consumers of messages": len(master.mq.impl.qrefs),
        "registrations": len(master.workers.registrations),
        "users of the port": sum(len(each.users) for each in master.pbmanager.dispatchers.values()),
        "of the builder": len(master.botmaster.builders["second"].workers),
        "of the master": len(existing(found)),
    }


@pytest_twisted.ensureDeferred
async def test_workers_that_no_build_needs_any_more_are_removed_without_a_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, monkeypatch) as found:
        await found.until(lambda: free(found, "second"))
        names, before = found.pool.worker_names("a"), _refers(found)
        await _burst(found, 40)
        ids = {row.name: row.id for row in await found.master.db.workers.getWorkers()}
        assert len(existing(found)) > AT_FIRST
        objects = [weakref.ref(worker) for worker in existing(found).values()]
        demand = possible.of(found.master.workers)

        for _ in range(2):  # what is needed in the first interval stays
            demand._sweep_now()
        await found.until(lambda: _refers(found) == before)

        configured = await found.master.db.workers.getWorkers(masterid=found.master.masterid)
        on = {row.name for row in configured if row.configured_on}
        assert on == set(existing(found))
        gc.collect()
        assert len([ref for ref in objects if ref() is not None]) == AT_FIRST
        # Names, and the history of builds by their workers, are as before.
        assert found.pool.worker_names("a") == names
        builds = await found.master.data.get(("builds",))
        assert {build["workerid"] for build in builds} <= set(ids.values())

        await _burst(found, 40)
        assert {row.name: row.id for row in await found.master.db.workers.getWorkers()} == ids


@pytest_twisted.ensureDeferred
async def test_a_worker_that_rests_or_is_paused_has_a_substitute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, monkeypatch) as found:
        first, *others = [each.worker for each in free(found, "first")]
        first.putInQuarantine()
        for other in others:
            other.pause("the test wants so")
        await found.until(lambda: free(found, "first"))

        await found.request("first")
        await found.until(lambda: found.started)
        first.stopQuarantineTimer()


@pytest_twisted.ensureDeferred
async def test_a_worker_that_the_database_refuses_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    monkeypatch.setattr("latent_libvirt.master.workers.possible.AGAIN_AFTER", 0.5)
    async with running(tmp_path, monkeypatch) as found:
        refused: list[str] = []
        original = found.master.data.updates.findWorkerId

        def once(name: str) -> Any:
            if not refused:
                refused.append(name)
                raise RuntimeError("the test wants so")
            return original(name)

        monkeypatch.setattr(found.master.data.updates, "findWorkerId", once)
        for each in free(found, "first"):
            each.worker.pause("the test wants so")

        await found.until(lambda: refused and free(found, "first"))
        await found.until(lambda: existing(found).get(refused[0]) is not None)
        await found.until(lambda: existing(found)[refused[0]].workerid is not None)
        assert not [line for line in logged if "cannot be removed" in line]


@pytest_twisted.ensureDeferred
async def test_a_master_that_stops_while_workers_are_added_stops_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Deferred[None]] = []
    async with running(tmp_path, monkeypatch) as found:
        original = found.master.data.updates.findWorkerId

        def late(name: str) -> Any:
            asked.append(Deferred())
            return asked[-1].addCallback(lambda _: original(name))

        monkeypatch.setattr(found.master.data.updates, "findWorkerId", late)
        for each in free(found, "first"):
            each.worker.pause("the test wants so")
        await found.until(lambda: asked)
        added = [each for each in existing(found).values() if each.workerid is None]

        def answer() -> None:
            for each in tuple(asked):
                each.callback(None)

        reactor.callLater(0.2, answer)

    assert added
    assert not any(each.running for each in added)


@pytest_twisted.ensureDeferred
async def test_a_reconfig_keeps_those_that_exist_and_their_builds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, monkeypatch) as found:
        for _ in range(AT_FIRST):
            await found.request("first")
        await found.until(lambda: len(found.started) == AT_FIRST)
        await found.until(lambda: free(found, "first"))
        before = dict(existing(found))

        await found.master.reconfig()

        assert before.items() <= existing(found).items()
        assert len(found.master.botmaster.builders["first"].building) == AT_FIRST


@pytest_twisted.ensureDeferred
async def test_a_saved_file_with_a_larger_cap_makes_no_more_workers_than_are_of_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def configure(pool: Pool) -> dict[str, Any]:
        names = pool.worker_names("a")
        return {"workers": pool.workers(), "builders": [_builder("only", names)]}

    async with running(tmp_path, monkeypatch, 2, configure) as found:
        assert sorted(existing(found)) == ["a-1", "a-2"]

        found.pool._saved(PoolConfig.model_validate(pool_of(FEW)))
        for _ in range(20):
            await found.request("only")
        await found.until(lambda: len(found.started) == 20)

        assert len(existing(found)) < 120
        only = found.master.botmaster.builders["only"]
        assert only.config.workernames == found.pool.worker_names("a")
