# SPDX-License-Identifier: GPL-2.0-only
"""What a real master asks its database for a list of builds with properties."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy
from buildbot.data.builds import BuildsEndpoint
from buildbot.data.resultspec import Property, ResultSpec
from buildbot.plugins import util

from latent_libvirt import Pool
from latent_libvirt.master.database import build_lists
from latent_libvirt.master.workers.worker import LibvirtLatentWorker
from master_in_process import Running, master_running

POOL: dict[str, Any] = {
    "master": {"max_vms": 1, "address": "127.0.0.1"},
    "hosts": {"here": {"uri": "test:///default", "slots": 1, "storage_pool": "default-pool"}},
    # Drained, so that no build begins while builds are listed.
    "labels": {"a": {"image": "debian-12", "drain": True}},
}
BUILDS = 7


def configure(_pool: Pool) -> dict[str, Any]:
    builder = util.BuilderConfig("check", workernames=["any"], factory=util.BuildFactory())
    return {"workers": [LibvirtLatentWorker("any", label="a")], "builders": [builder]}


async def add_builds(running: Running) -> None:
    """Add builds; the first has no owners."""
    db = running.master.db.builds
    buildset = await running.request("check")
    (request,) = await running.master.data.get(("buildrequests",))
    assert request["buildsetid"] == buildset
    for number in range(BUILDS):
        build, _ = await db.addBuild(request["builderid"], request["buildrequestid"], None, 1, "")
        await db.setBuildProperty(build, "size", number, "test")
        if number:
            await db.setBuildProperty(build, "owners", [f"o{number}"], "test")


async def listed(running: Running, *names: str) -> list[Any]:
    asked = [Property(b"property", "eq", list(names))] if names else []
    return list(
        await running.master.data.get_with_resultspec(("builds",), ResultSpec(properties=asked))
    )


@pytest_twisted.ensureDeferred
async def test_a_list_of_builds_has_the_same_properties_with_a_single_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with master_running(tmp_path, monkeypatch, POOL, configure) as running:
        await add_builds(running)
        queries: list[str] = []

        def asked(_connection: object, _cursor: object, text: str, *_more: object) -> None:
            queries.append(text)

        sqlalchemy.event.listen(running.master.db.pool.engine, "before_cursor_execute", asked)
        wanted = (("owners",), ("owners", "size"), ("*",), ("none",), ())
        ours = [await listed(running, *names) for names in wanted]
        of_properties = [each for each in queries if "FROM build_properties" in each]
        assert len(of_properties) == len([names for names in wanted if names])

        monkeypatch.setattr(build_lists, "AT_ONCE", 2)
        assert await listed(running, "owners") == ours[0]

        monkeypatch.setattr(BuildsEndpoint, "get", BuildsEndpoint.get.__wrapped__)
        assert [await listed(running, *names) for names in wanted] == ours
