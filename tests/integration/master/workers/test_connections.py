# SPDX-License-Identifier: GPL-2.0-only
"""Events of workers that connect say what the database has, and read it once; a real master."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy
from buildbot.plugins import util, worker

from latent_libvirt import Pool
from latent_libvirt.master.workers.worker import LibvirtLatentWorker
from master_in_process import Running, master_running

POOL: dict[str, Any] = {
    "master": {"max_vms": 1, "address": "127.0.0.1"},
    "hosts": {"here": {"uri": "test:///default", "slots": 1, "storage_pool": "default-pool"}},
    "labels": {"a": {"image": "debian-12"}},
}
INFO = {"admin": "who", "host": "guest", "access_uri": None, "version": "4.3.0"}


def configure(_pool: Pool) -> dict[str, Any]:
    workers = [LibvirtLatentWorker("ours", label="a"), worker.Worker("theirs", "pass")]
    names = [each.name for each in workers]
    builder = util.BuilderConfig("check", workernames=names, factory=util.BuildFactory())
    return {"workers": workers, "builders": [builder]}


class Heard:
    """The events of a worker, and how often it was read."""

    def __init__(self, running: Running, name: str) -> None:
        self._master = running.master
        self._worker = running.master.workers.workers[name].workerid
        self._events: list[dict[str, Any]] = []
        self._reads = 0

    def hear(self, _key: object, event: dict[str, Any]) -> None:
        self._events.append(event)

    def asked(self, _connection: object, _cursor: object, text: str, *_more: object) -> None:
        self._reads += text.startswith("SELECT workers.id")

    async def connected(self, info: dict[str, Any] = INFO) -> int:
        updates, master = self._master.data.updates, self._master.masterid
        return await self._announced(updates.workerConnected(self._worker, master, info))

    async def disconnected(self) -> int:
        updates, master = self._master.data.updates, self._master.masterid
        return await self._announced(updates.workerDisconnected(self._worker, master))

    async def paused(self) -> int:
        updates = self._master.data.updates
        return await self._announced(updates.set_worker_paused(self._worker, True, "a test"))

    async def _announced(self, update: Any) -> int:
        """Wait for an update; compare its event with the database; return how often it read."""
        self._reads = 0
        sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", self.asked)
        await update
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", self.asked)
        assert self._events.pop() == await self._master.data.get(("workers", self._worker))
        return self._reads


@pytest.mark.parametrize(("name", "again"), [("ours", 0), ("theirs", 1)])
@pytest_twisted.ensureDeferred
async def test_only_a_worker_of_a_pool_is_read_once_for_all_its_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, again: int
) -> None:
    async with master_running(tmp_path, monkeypatch, POOL, configure) as running:
        heard = Heard(running, name)
        consumer = await running.master.mq.startConsuming(heard.hear, ("workers", None, None))
        assert await heard.connected() == 1
        assert await heard.disconnected() == again
        assert await heard.connected({**INFO, "version": "5"}) == again
        assert await heard.paused() == 1
        assert await heard.disconnected() == 1
        assert await heard.connected() == again
        consumer.stopConsuming()
