# SPDX-License-Identifier: GPL-2.0-only
"""Buildsets are read and ended as Buildbot does, by fewer statements, in a real master."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy
from buildbot.plugins import util
from buildbot.process.results import FAILURE, SUCCESS
from twisted.internet.defer import gatherResults

from latent_libvirt import Pool
from latent_libvirt.master.workers.worker import LibvirtLatentWorker
from master_in_process import master_running

POOL: dict[str, Any] = {
    "master": {"max_vms": 1, "address": "127.0.0.1"},
    "hosts": {"here": {"uri": "test:///default", "slots": 1, "storage_pool": "default-pool"}},
    "labels": {"a": {"image": "debian-12"}},
}
READS = re.compile("SELECT (buildsets|buildset_sourcestamps)[.]|buildrequests[.]buildsetid = [?]")
"""Those of a buildset and its requests. A master asks for others as time goes by."""

STAMP = {"repository": "", "project": "", "branch": None, "revision": None}


def configure(_pool: Pool) -> dict[str, Any]:
    builder = util.BuilderConfig("check", workernames=["any"], factory=util.BuildFactory())
    return {"workers": [LibvirtLatentWorker("any", label="a")], "builders": [builder]}


class Counted:
    """A master, the ends of buildsets that it announces, and how often it reads one."""

    def __init__(self, master: Any) -> None:
        self.master = master
        self.ends: list[dict[str, Any]] = []
        self.statements = 0

    @property
    def updates(self) -> Any:
        return self.master.data.updates

    async def add(self) -> tuple[int, list[int]]:
        """Add a buildset with two requests and two source stamps; return its and their ids."""
        builders = [await self.updates.findBuilderId(name) for name in ("one", "two")]
        stamps = [{**STAMP, "codebase": codebase} for codebase in ("library", "program")]
        buildset, requests = await self.updates.addBuildset(
            waited_for=False,
            builderids=builders,
            sourcestamps=stamps,
            reason="test",
            external_idstring="try-7",
        )
        return buildset, list(requests.values())

    async def end(self, requests: list[int], results: int) -> None:
        """End requests in the database alone."""
        await self.master.db.buildrequests.completeBuildRequests(requests, results)

    async def of(self, work: Awaitable[Any]) -> tuple[int, Any]:
        """Return how many such statements *work* took, and what it returned."""
        before = self.statements
        result = await work
        return self.statements - before, result

    def asked(self, _connection: object, _cursor: object, text: str, *_more: object) -> None:
        self.statements += bool(READS.search(text))


@asynccontextmanager
async def counted(directory: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Counted]:
    async with master_running(directory, monkeypatch, POOL, configure) as running:
        found = Counted(running.master)
        consumer = await running.master.mq.startConsuming(
            lambda _key, message: found.ends.append(message), ("buildsets", None, "complete")
        )
        sqlalchemy.event.listen(running.master.db.pool.engine, "before_cursor_execute", found.asked)
        yield found
        consumer.stopConsuming()


@pytest_twisted.ensureDeferred
async def test_a_buildset_is_what_buildbot_reads_and_takes_one_statement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with counted(tmp_path, monkeypatch) as found:
        connector = found.master.db.buildsets
        buildset, requests = await found.add()
        for ended in (False, True):
            if ended:
                await found.updates.completeBuildRequests(requests, SUCCESS)
            count, ours = await found.of(connector.getBuildset(buildset))
            assert ours.complete is ended
            assert ours == await type(connector).getBuildset.__wrapped__(connector, buildset)
            assert count == 1


@pytest_twisted.ensureDeferred
async def test_a_buildset_ends_as_buildbot_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with counted(tmp_path, monkeypatch) as found:
        original = found.master.data.getResourceType("buildset").maybeBuildsetComplete
        rows, costs = [], []
        for end in (original, found.updates.maybeBuildsetComplete):
            buildset, requests = await found.add()
            await found.end(requests[:1], FAILURE)
            await end(buildset)  # a request of it has not ended
            await found.end(requests[1:], SUCCESS)
            cost, _nothing = await found.of(end(buildset))
            costs.append(cost)
            await end(buildset)  # it has ended
            rows.append(await found.master.data.get(("buildsets", buildset)))
            await _heard(found, len(rows))

    its, ours = map(_timeless, found.ends)
    assert its == ours
    assert [row["results"] for row in rows] == [FAILURE, FAILURE]
    assert all(row["complete"] for row in rows)
    assert costs == [4, 2]


def _timeless(end: dict[str, Any]) -> dict[str, Any]:
    """Return an event with the types of its times, and without the id of its buildset."""
    times = {name: type(end[name]).__name__ for name in ("submitted_at", "complete_at")}
    return {**end, **times, "bsid": None}


async def _heard(found: Counted, count: int) -> None:
    """Let the reactor run until that many ends have come."""
    for _ in range(200):
        if len(found.ends) >= count:
            return
        await found.master.db.pool.do(lambda _connection: None)


@pytest_twisted.ensureDeferred
async def test_a_buildset_whose_requests_end_at_once_ends_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with counted(tmp_path, monkeypatch) as found:
        first, requests = await found.add()
        await gatherResults(
            [found.updates.completeBuildRequests([each], SUCCESS) for each in requests]
        )
        second, others = await found.add()  # whatever was announced has come by its end
        await found.end(others, SUCCESS)
        await found.updates.maybeBuildsetComplete(second)
        await _heard(found, 2)
        assert [end["bsid"] for end in found.ends] == [first, second]
