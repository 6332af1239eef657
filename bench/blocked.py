# SPDX-License-Identifier: GPL-2.0-only
"""How long requests that cannot start delay one that can.

A real master in this process, on SQLite in memory, with a real pool whose VMs never come up. Told
is the time from the moment at which a request is added until a VM begins to start for it, while a
try of the builder with the others is under way.

    make bench-blocked
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from buildbot.plugins import util
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

import master_in_process
from latent_libvirt import Pool
from latent_libvirt.master.workers.worker import LibvirtLatentWorker
from master_in_process import Running, master_running, reactor

DEADLINE = 120.0
WORKERS = [f"any-{number}" for number in range(10)]
POOL: dict[str, Any] = {
    "master": {"max_vms": 8, "address": "127.0.0.1"},
    "hosts": {"here": {"uri": "test:///default", "slots": 8, "storage_pool": "default-pool"}},
    "labels": {
        "drained": {"image": "debian-12", "drain": True},
        "free": {"image": "debian-12"},
    },
}
LOCK = util.MasterLock("release")
HELD = [LOCK.access("exclusive")]


def _is_free(_builder: object, _worker: object, request: Any) -> bool:
    return request.properties.getProperty("free") is not None


OBSTACLES: dict[str, dict[str, Any]] = {
    "a label that is drained": {},
    "a lock": {"locks": HELD},
    "a rendered lock": {
        "locks": util.renderer(lambda props: [] if props.getProperty("free") else HELD)
    },
    "canStartBuild": {"canStartBuild": _is_free},
}


def _configure(**how: Any) -> Callable[[Pool], dict[str, Any]]:
    def configure(pool: Pool) -> dict[str, Any]:
        common: dict[str, Any] = {
            "workernames": WORKERS,
            "factory": util.BuildFactory(),
            "collapseRequests": False,
        }
        label = util.Property("label")
        return {
            "workers": [LibvirtLatentWorker(name, label=label) for name in WORKERS],
            "prioritizeBuilders": pool.prioritize_builders,
            "builders": [
                util.BuilderConfig("check", **common, **how),
                util.BuilderConfig("other", **common),
            ],
        }

    return configure


async def measure(obstacle: str, count: int, builder: str) -> float | None:
    """Return the delay of a request of *builder*, in seconds; ``None`` if it does not start."""
    label = "drained" if obstacle == "a label that is drained" else "free"
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        running_master = master_running(
            Path(directory), patch, POOL, _configure(**OBSTACLES[obstacle])
        )
        async with running_master as running:
            lock = await running.master.botmaster.getLockByID(LOCK, 0)
            lock.claim(running, LOCK.access("exclusive"))
            if count:
                await running.fill("check", count, label=label)
            running.master.botmaster.maybeStartBuildsForBuilder("check")
            await deferLater(reactor, 0.1, lambda: None)
            return await _delay(running, builder)


async def _delay(running: Running, builder: str) -> float | None:
    began = reactor.seconds()
    await running.request_as(builder, {"label": "free", "free": True})
    try:
        await running.until(lambda: running.started)
    except AssertionError:
        return None
    return float(running.started_at[0] - began)


async def main(_reactor: object) -> None:
    """Measure and print, one line for each case."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, nargs="*", default=[0, 1_000, 10_000])
    parser.add_argument("--obstacle", nargs="*", default=list(OBSTACLES), choices=list(OBSTACLES))
    arguments = parser.parse_args()
    for obstacle in arguments.obstacle:
        for builder in ("check", "other"):
            if (obstacle, builder) == ("a lock", "check"):
                continue  # None of its requests can start.
            for count in arguments.count:
                delay = await measure(obstacle, count, builder)
                row = {"obstacle": obstacle, "waiting": count, "builder": builder, "delay": delay}
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    master_in_process.DEADLINE = DEADLINE
    react(lambda clock: Deferred.fromCoroutine(main(clock)))
