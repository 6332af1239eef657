# SPDX-License-Identifier: GPL-2.0-only
"""How often a real master writes the properties of a build that starts."""

from __future__ import annotations

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
GIVEN = {f"p{number}": number for number in range(30)}


def configure(_pool: Pool) -> dict[str, Any]:
    builder = util.BuilderConfig("check", workernames=["any"], factory=util.BuildFactory())
    return {"workers": [LibvirtLatentWorker("any", label="a")], "builders": [builder]}


@pytest_twisted.ensureDeferred
async def test_the_properties_of_a_build_are_written_together_and_reported_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with master_running(tmp_path, monkeypatch, POOL, configure) as running:
        data, mq = running.master.data, running.master.mq
        events: list[Any] = []
        properties = ("builds", None, "properties", "update")
        await mq.startConsuming(lambda _key, message: events.append(message), properties)
        written: list[str] = []

        def asked(_connection: object, _cursor: object, text: str, *_more: object) -> None:
            if text.startswith(("INSERT INTO build_properties", "UPDATE build_properties")):
                written.append(text)

        sqlalchemy.event.listen(running.master.db.pool.engine, "before_cursor_execute", asked)
        await running.request("check", **GIVEN)
        await running.until(lambda: running.started)

        stored = await data.get(("builds", "1", "properties"))
        assert {name: value for name, (value, _source) in stored.items() if name in GIVEN} == GIVEN
        assert len(written) < len(GIVEN) / 2
        assert GIVEN.keys() <= events[0].keys()
        assert len(events) <= len(written)
