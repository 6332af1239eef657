# SPDX-License-Identifier: GPL-2.0-only
"""Events of builds, steps and logs say what the database has, and do not ask it; a real master."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy
from buildbot.plugins import util

from latent_libvirt import Pool
from latent_libvirt.master.workers.worker import LibvirtLatentWorker
from master_in_process import master_running

POOL: dict[str, Any] = {
    "master": {"max_vms": 1, "address": "127.0.0.1"},
    "hosts": {"here": {"uri": "test:///default", "slots": 1, "storage_pool": "default-pool"}},
    "labels": {"a": {"image": "debian-12"}},
}


def configure(_pool: Pool) -> dict[str, Any]:
    builder = util.BuilderConfig(
        "check", workernames=["any"], factory=util.BuildFactory(), collapseRequests=False
    )
    return {"workers": [LibvirtLatentWorker("any", label="a")], "builders": [builder]}


class Heard:
    """A build, and the events of what is changed of it."""

    def __init__(self, master: Any, build: int) -> None:
        self.master = master
        self.build = build
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.reads = 0

    def hear(self, key: tuple[str, ...], event: dict[str, Any]) -> None:
        if key[0] in ("builds", "steps", "logs") and len(key) == 3:
            self.events.append((key[-1], event))

    def asked(self, _connection: object, _cursor: object, text: str, *_more: object) -> None:
        tables = ("builds", "steps", "logs")
        self.reads += any(text.startswith(f"SELECT {table}.id") for table in tables)

    async def announced(self, update: Awaitable[Any], kind: str, row: int) -> int:
        """Do an update; compare its event with the database; return how often that was read."""
        self.reads = 0
        await update
        for _ in range(200):
            if self.events:
                break
            await _moment(self)
        reads = self.reads
        (_name, event), *others = self.events
        assert not others
        self.events.clear()
        assert event == await self.master.data.get((kind, row))
        return reads


async def _moment(heard: Heard) -> None:
    await heard.master.db.pool.do(lambda _connection: None)


@asynccontextmanager
async def heard(directory: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Heard]:
    async with master_running(directory, monkeypatch, POOL, configure) as running:
        await running.request("check")
        await running.until(lambda: running.started)
        master = running.master
        (build,) = await master.db.builds.getBuilds()
        found = Heard(master, build.id)
        patterns = [("builds", None, None), ("steps", None, None), ("logs", None, None)]
        consumers = [await master.mq.startConsuming(found.hear, each) for each in patterns]
        sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", found.asked)
        try:
            yield found
        finally:
            sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", found.asked)
            for consumer in consumers:
                consumer.stopConsuming()


@pytest_twisted.ensureDeferred
async def test_a_step_is_read_when_it_is_new_and_when_it_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with heard(tmp_path, monkeypatch) as found:
        updates = found.master.data.updates
        step, _number, _name = await updates.addStep(found.build, "compile")
        found.events.clear()

        async def reads(update: Awaitable[Any]) -> int:
            return await found.announced(update, "steps", step)

        assert await reads(updates.startStep(step, started_at=1000)) == 0
        assert await reads(updates.set_step_locks_acquired_at(step, locks_acquired_at=1001)) == 0
        assert await reads(updates.setStepStateString(step, "compiling")) == 0
        assert await reads(updates.addStepURL(step, "docs", "http://docs.example/")) == 1
        assert await reads(updates.setStepStateString(step, "compiled")) == 0
        assert await reads(updates.finishStep(step, 0, False)) == 1
        assert await reads(updates.setStepStateString(step, "late")) == 1


@pytest_twisted.ensureDeferred
async def test_a_step_that_has_its_locks_at_once_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with heard(tmp_path, monkeypatch) as found:
        updates = found.master.data.updates
        step, _number, _name = await updates.addStep(found.build, "compile")
        found.events.clear()
        start = updates.startStep(step, started_at=1000, locks_acquired=True)
        assert await found.announced(start, "steps", step) == 0


@pytest_twisted.ensureDeferred
async def test_a_build_is_read_once_for_all_its_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with heard(tmp_path, monkeypatch) as found:
        updates, build = found.master.data.updates, found.build
        await found.announced(updates.setBuildStateString(build, "one"), "builds", build)
        for state in ("two", "three"):
            update = updates.setBuildStateString(build, state)
            assert await found.announced(update, "builds", build) == 0
        lasted = updates.add_build_locks_duration(build, duration_s=3)
        assert await found.announced(lasted, "builds", build) == 1


@pytest_twisted.ensureDeferred
async def test_a_log_is_read_once_for_all_its_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with heard(tmp_path, monkeypatch) as found:
        updates = found.master.data.updates
        step, _number, _name = await updates.addStep(found.build, "compile")
        log = await updates.addLog(step, "stdio", "t")
        await _moment(found)
        await _moment(found)
        found.events.clear()

        async def reads(update: Awaitable[Any]) -> int:
            return await found.announced(update, "logs", log)

        await reads(updates.appendLog(log, "first\n"))
        assert await reads(updates.appendLog(log, "second\nthird\n")) == 0
        assert await reads(updates.finishLog(log)) == 1
