# SPDX-License-Identifier: GPL-2.0-only
"""What is asked, and what starts, when many requests wait that cannot start; a real master."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import util

from latent_libvirt import Pool
from latent_libvirt.master.choosing import build_chooser
from latent_libvirt.master.workers.worker import LibvirtLatentWorker
from master_in_process import Running, master_running

MANY = 1_001
WORKERS = [f"any-{number}" for number in range(10)]
POOL: dict[str, Any] = {
    "master": {"max_vms": 4, "address": "127.0.0.1"},
    "hosts": {"here": {"uri": "test:///default", "slots": 4, "storage_pool": "default-pool"}},
    "labels": {
        "a": {"image": "debian-12", "drain": True},
        "b": {"image": "debian-12"},
        "c": {"image": "debian-12"},
    },
}
LOCK = util.MasterLock("release")
EXCLUSIVE = [LOCK.access("exclusive")]


def configuration(**how: Any) -> Callable[[Pool], dict[str, Any]]:
    """Return what configures two builders, with workers whose label is a property.

    :param how: keys of the first one's configuration.
    """

    def configure(pool: Pool) -> dict[str, Any]:
        label = util.Property("label")
        common: dict[str, Any] = {
            "workernames": WORKERS,
            "factory": util.BuildFactory(),
            "collapseRequests": False,
        }
        return {
            "workers": [LibvirtLatentWorker(name, label=label) for name in WORKERS],
            "prioritizeBuilders": pool.prioritize_builders,
            "builders": [
                util.BuilderConfig("check", **common, **how),
                util.BuilderConfig("other", **common),
            ],
        }

    return configure


async def hold(running: Running) -> None:
    lock = await running.master.botmaster.getLockByID(LOCK, 0)
    lock.claim(running, LOCK.access("exclusive"))


@pytest_twisted.ensureDeferred
async def test_requests_of_a_drained_label_cost_one_look_and_hold_up_no_other_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with master_running(tmp_path, monkeypatch, POOL, configuration()) as running:
        await running.fill("check", MANY, label="a")
        await running.request("check", label="b")
        await running.until(lambda: running.started)
        await running.tried()

        assert running.started == ["b"]
        assert running.questions <= len(POOL["labels"])


@pytest.mark.parametrize(
    "locks", [EXCLUSIVE, util.renderer(lambda _props: EXCLUSIVE)], ids=["plain", "rendered"]
)
@pytest_twisted.ensureDeferred
async def test_requests_that_a_lock_holds_up_are_not_asked_about_for_each_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: Any
) -> None:
    async with master_running(tmp_path, monkeypatch, POOL, configuration(locks=locks)) as running:
        await hold(running)
        await running.fill("check", 300, label="b")
        await running.tried("check")
        await running.request("other", label="c")
        await running.until(lambda: running.started)

        assert running.started == ["c"]
        assert running.questions == 1


@pytest_twisted.ensureDeferred
async def test_a_plain_lock_that_is_held_keeps_the_queue_from_being_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with master_running(
        tmp_path, monkeypatch, POOL, configuration(locks=EXCLUSIVE)
    ) as running:
        await hold(running)
        await running.request("check", label="b")
        monkeypatch.setattr("latent_libvirt.master.queue.build_requests.of_builder", pytest.fail)
        await running.tried("check")

        assert running.questions == 0


@pytest_twisted.ensureDeferred
async def test_locks_that_depend_on_a_property_hold_up_only_those_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locks = util.renderer(lambda props: EXCLUSIVE if props.getProperty("release") else [])
    async with master_running(tmp_path, monkeypatch, POOL, configuration(locks=locks)) as running:
        await hold(running)
        await running.fill("check", 300, label="b", release=True)
        await running.request("check", label="c")
        await running.until(lambda: running.started)
        await running.tried()

        assert running.started == ["c"]
        assert running.questions == 1


def wants_no_a(asked: list[str]) -> Any:
    def next_worker(_builder: object, workers: list[Any], request: Any) -> Any:
        asked.append(request.properties.getProperty("who"))
        return workers[0] if asked[-1] == "b" else None

    return next_worker


@pytest_twisted.ensureDeferred
async def test_a_next_worker_that_wants_none_is_asked_once_for_what_it_looks_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    async with master_running(
        tmp_path, monkeypatch, POOL, configuration(nextWorker=wants_no_a(asked))
    ) as running:
        await running.fill("check", MANY, label="b", who="a")
        asked.clear()
        await running.request("check", label="b", who="b")
        await running.until(lambda: running.started)
        await running.tried()

        assert asked.count("b") == 1
        assert asked.count("a") <= 4  # tries


@pytest_twisted.ensureDeferred
async def test_a_build_starts_on_the_worker_that_next_worker_chooses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def choose(_builder: object, workers: list[Any], request: Any) -> Any:
        wanted = request.properties.getProperty("wanted")
        return next((wfb for wfb in workers if wfb.worker.name == wanted), None)

    async with master_running(
        tmp_path, monkeypatch, POOL, configuration(nextWorker=choose)
    ) as running:
        wanted = ["any-7", "any-2", "any-9"]
        for name in wanted:
            await running.request("check", label="b", wanted=name)
        await running.until(lambda: len(running.started) == len(wanted))

        building = running.master.botmaster.builders["check"].building
        on = {b.getProperty("wanted"): b.workerforbuilder.worker.name for b in building}
        assert on == {name: name for name in wanted}


@pytest_twisted.ensureDeferred
async def test_a_veto_is_asked_for_once_per_worker_and_kind_of_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def veto(_builder: object, _worker: object, request: Any) -> bool:
        return bool(request.properties.getProperty("who") == "b")

    async with master_running(
        tmp_path, monkeypatch, POOL, configuration(canStartBuild=veto)
    ) as running:
        await running.fill("check", MANY, label="b", who="a")
        await running.tried()
        assert running.questions <= 2 * len(WORKERS)

        await running.request("check", label="b", who="b")
        await running.until(lambda: running.started)


@pytest_twisted.ensureDeferred
async def test_requests_for_a_worker_that_is_busy_hold_up_no_request_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with master_running(
        tmp_path, monkeypatch, POOL, configuration(canStartBuild=util.enforceChosenWorker)
    ) as running:
        await running.request("check", label="b", workername="any-3")
        await running.until(lambda: running.started)
        await running.fill("check", MANY, label="b", workername="any-3")
        await running.request("check", label="c", workername="any-4")
        await running.until(lambda: len(running.started) == 2)
        await running.tried()

        assert running.started == ["b", "c"]
        assert running.questions < 100


@pytest_twisted.ensureDeferred
async def test_a_veto_that_looks_at_each_request_is_gone_through_in_several_tries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids: list[int] = []
    last = 15
    monkeypatch.setattr(build_chooser, "MOST_LOOKED_AT", 4)

    def veto(_builder: object, _worker: object, request: Any) -> bool:
        ids.append(request.id)
        return bool(request.id == last)

    async with master_running(
        tmp_path, monkeypatch, POOL, configuration(canStartBuild=veto)
    ) as running:
        await running.fill("check", last, label="b")
        await running.tried()
        await running.until(lambda: running.started)

        assert len(set(ids)) == last


@pytest_twisted.ensureDeferred
async def test_a_next_build_of_the_configuration_chooses_among_what_was_not_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered: list[int] = []

    def newest(_builder: object, requests: list[Any]) -> Any:
        offered.append(len(requests))
        return requests[-1] if requests else None

    async with master_running(
        tmp_path, monkeypatch, POOL, configuration(nextBuild=newest)
    ) as running:
        await running.request("other", label="c")
        await running.until(lambda: running.started)
        await running.request("check", label="b")
        await running.until(lambda: len(running.started) == 2)
        offered.clear()
        await running.fill("check", 20, label="a")
        await running.request("check", label="a")
        await running.tried()

        assert running.started == ["c", "b"]
        assert max(offered) == 21
        assert min(offered) < 21 or offered == [21] * len(offered)


@pytest_twisted.ensureDeferred
async def test_locks_that_cannot_be_rendered_hold_up_no_other_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locks = util.renderer(lambda props: [][: 1 // props.getProperty("number")])
    async with master_running(tmp_path, monkeypatch, POOL, configuration(locks=locks)) as running:
        await running.fill("check", 20, label="b", number=0)
        await running.request("check", label="c", number=1)
        await running.until(lambda: running.started)

        assert running.started == ["c"]
