# SPDX-License-Identifier: GPL-2.0-only
"""Builds that want locks which others, whose VMs come up, are going to have; a real master."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import util

from latent_libvirt import Pool
from latent_libvirt.master.workers.worker import LibvirtLatentWorker
from master_in_process import Running, master_running

POOL: dict[str, Any] = {
    "master": {"max_vms": 8, "address": "127.0.0.1"},
    "hosts": {"here": {"uri": "test:///default", "slots": 8, "storage_pool": "default-pool"}},
    "labels": {"a": {"image": "debian-12"}},
}
WORKERS = ["w-1", "w-2", "w-3", "w-4"]
LOCK, TWO, DISK = util.MasterLock("one"), util.MasterLock("two", 2), util.WorkerLock("disk")
EXCLUSIVE = [LOCK.access("exclusive")]

AT_ONCE: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "an exclusive lock": ({"locks": EXCLUSIVE}, {}, 1),
    "a rendered lock": ({"locks": util.renderer(lambda _props: EXCLUSIVE)}, {}, 1),
    "a lock for two": ({"locks": [TWO.access("counting")]}, {}, 2),
    "both of a lock for two": ({"locks": [TWO.access("counting", 2)]}, {}, 1),
    "nothing of a lock": ({"locks": [LOCK.access("counting", 0)]}, {}, 4),
    "a lock of each worker": ({"locks": [DISK.access("exclusive")]}, {}, 4),
    "a lock that workers share": ({}, {"locks": EXCLUSIVE}, 1),
    "a lock that two workers may share": ({}, {"locks": [TWO.access("counting")]}, 2),
}
"""What builders and workers have, and how many builds may go on at once."""


def _configuration(
    of_builder: dict[str, Any], of_worker: dict[str, Any]
) -> Callable[[Pool], dict[str, Any]]:
    def configure(pool: Pool) -> dict[str, Any]:
        return {
            "workers": [LibvirtLatentWorker(name, label="a", **of_worker) for name in WORKERS],
            "prioritizeBuilders": pool.prioritize_builders,
            "builders": [
                util.BuilderConfig(
                    name,
                    workernames=WORKERS,
                    factory=util.BuildFactory(),
                    collapseRequests=False,
                    **of_builder,
                )
                for name in ("check", "other")
            ],
        }

    return configure


async def _started(running: Running, most: int) -> None:
    await running.until(lambda: len(running.started) >= most)
    await running.tried()


async def _builds(running: Running) -> int:
    return len(await running.master.db.builds.getBuilds())


@pytest.mark.parametrize("what", AT_ONCE)
@pytest_twisted.ensureDeferred
async def test_no_more_builds_are_given_vms_than_the_locks_let_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    of_builder, of_worker, most = AT_ONCE[what]
    configure = _configuration(of_builder, of_worker)
    async with master_running(tmp_path, monkeypatch, POOL, configure) as running:
        for builder in ("check", "other", "check", "other"):
            await running.request(builder)
        await _started(running, most)

        assert len(running.pool.vm_pool.capacity.taken) == len(running.started) == most
        assert await _builds(running) == most


@pytest.mark.parametrize("what", ["an exclusive lock", "a lock that workers share"])
@pytest_twisted.ensureDeferred
async def test_the_next_build_starts_when_one_is_stopped_before_it_has_its_vm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    of_builder, of_worker, _most = AT_ONCE[what]
    configure = _configuration(of_builder, of_worker)
    async with master_running(tmp_path, monkeypatch, POOL, configure) as running:
        await running.request("check")
        await running.until(lambda: running.started)
        await running.request("other")
        await running.tried()
        await running.pool.waiting.refresh()
        (waits,) = running.pool.waiting.explanations
        assert "lock" in waits.reason.text

        (build,) = running.master.botmaster.builders["check"].building
        await build.stopBuild("test")
        await running.until(lambda: len(running.started) == 2)
