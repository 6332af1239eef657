# SPDX-License-Identifier: GPL-2.0-only
"""Why requests of a real master wait, each held by something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import util

from latent_libvirt import Pool
from latent_libvirt.master.queue import workers_of_builder
from latent_libvirt.master.queue.why_waiting import Explanation
from latent_libvirt.master.workers.worker import LibvirtLatentWorker
from latent_libvirt.status.names import Target
from master_in_process import Running, master_running

HOST = {"uri": "test:///default", "slots": 4, "storage_pool": "default-pool"}


def _pool(max_vms: int = 1, **labels: dict[str, Any]) -> dict[str, Any]:
    named = labels or {"debian": {}}
    return {
        "master": {"max_vms": max_vms, "address": "127.0.0.1"},
        "hosts": {"here": HOST},
        "labels": {name: {"image": "debian-12", **label} for name, label in named.items()},
    }


LOCK = util.MasterLock("release")
WORKER_LOCK = util.WorkerLock("disk")


def _never(*_args: object) -> bool:
    return False


def _builders(pool: Pool, **of_check: Any) -> dict[str, Any]:
    """Return two builders with all workers of *pool*: ``first``, and ``check`` as it is said."""
    workers = pool.workers()
    names = [worker.name for worker in workers]
    return {
        "workers": workers,
        "builders": [
            util.BuilderConfig(
                name, workernames=names, factory=util.BuildFactory(), collapseRequests=False, **how
            )
            for name, how in (("first", {}), ("check", of_check))
        ],
    }


def _running(
    directory: Path, monkeypatch: pytest.MonkeyPatch, pool: dict[str, Any], **of_check: Any
) -> Any:
    return master_running(directory, monkeypatch, pool, lambda made: _builders(made, **of_check))


async def _explained(running: Running) -> list[tuple[str, str]]:
    await running.tried()
    await running.pool.waiting.refresh()
    explanations: tuple[Explanation, ...] = running.pool.waiting.explanations
    return [(each.reason.kind, each.reason.text) for each in explanations]


async def _busy(running: Running) -> None:
    """Let a build of the builder ``first`` take a VM."""
    before = len(running.started)
    await running.request("first")
    await running.until(lambda: len(running.started) > before)


@pytest_twisted.ensureDeferred
async def test_what_is_full_is_told_by_the_cap_that_is_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = _pool(max_vms=2, debian={"max_vms": 1}, fedora={"max_vms": 1})
    async with _running(tmp_path, monkeypatch, pool) as running:
        await _busy(running)
        running.pool.vm_pool.capacity.drained |= {Target("label", label_left(running))}
        await running.request("check")
        [(_kind, text)] = await _explained(running)
        assert (text.count("is reached (1)"), text.count("is drained")) == (1, 1)

        running.pool.vm_pool.capacity.drained = frozenset()
        await _busy(running)
        await running.request("check")
        explained = await _explained(running)
        assert set(explained) == {("cap", "max_vms of the master is reached (2)")}


def label_left(running: Running) -> str:
    [label] = {"debian", "fedora"} - set(running.started)
    return label


@pytest_twisted.ensureDeferred
async def test_hosts_without_room_are_told_each_with_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = _pool(max_vms=9)
    pool["hosts"] = {"here": {**HOST, "slots": 1}, "there": {**HOST, "uri": "test://there/default"}}
    async with _running(tmp_path, monkeypatch, pool) as running:
        running.pool.vm_pool.capacity.drained |= {Target("host", "there")}
        await _busy(running)
        await running.request("check")

        lacks = "here: all its slots are taken (1); there: drained"
        assert await _explained(running) == [
            ("host", f"no host has room for label debian ({lacks})"),
        ]


@pytest_twisted.ensureDeferred
async def test_a_drained_label_and_drained_hosts_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _running(tmp_path, monkeypatch, _pool()) as running:
        running.pool.vm_pool.capacity.drained |= {Target("label", "debian")}
        await running.request("check")
        assert await _explained(running) == [("drained", "label debian is drained")]

        running.pool.vm_pool.capacity.drained = frozenset({Target("host", "here")})
        assert await _explained(running) == [
            ("drained", "no host has room for label debian (here: drained)")
        ]


@pytest_twisted.ensureDeferred
async def test_workers_that_are_paused_stopping_or_resting_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _running(tmp_path, monkeypatch, _pool(max_vms=3)) as running:
        workers = running.master.workers.workers
        workers["debian-1"].pause("for the test")
        workers["debian-2"]._graceful = True
        workers["debian-3"].is_suspect = True
        workers["debian-3"].putInQuarantine()
        await running.request("check")

        unable = "in back-off after a failed start: debian-3; paused: debian-1; stopping: debian-2"
        assert await _explained(running) == [
            ("worker", f"none of its workers is free ({unable})"),
        ]
        workers["debian-3"].stopQuarantineTimer()


@pytest_twisted.ensureDeferred
async def test_of_several_reasons_all_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locks = {"locks": [LOCK.access("exclusive")]}
    async with _running(tmp_path, monkeypatch, _pool(), **locks) as running:
        await _claim(running, LOCK)
        running.master.workers.workers["debian-1"].pause("for the test")
        running.pool.vm_pool.capacity.drained |= {Target("label", "debian")}
        await running.request("check")

        [(kind, text)] = await _explained(running)
        assert kind == "worker"
        assert text == (
            "none of its workers is free (paused: debian-1); label debian is drained; "
            "lock release is held by somebody else"
        )


async def _claim(running: Running, *locks: Any, owner: object | None = None) -> None:
    for lock in locks:
        real = await running.master.botmaster.getLockByID(lock, 0)
        real.getLockForWorker("debian-1").claim(owner or running, lock.access("exclusive"))


@pytest.mark.parametrize(
    "locks",
    [
        [LOCK.access("counting")],
        [WORKER_LOCK.access("exclusive")],
        util.renderer(lambda _properties: [LOCK.access("exclusive")]),
    ],
    ids=["of the master", "of the worker", "rendered"],
)
@pytest_twisted.ensureDeferred
async def test_a_lock_is_told_with_the_build_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: Any
) -> None:
    async with _running(tmp_path, monkeypatch, _pool(), locks=locks) as running:
        holder = type("Build", (), {"builder": running.master.botmaster.builders["first"]})()
        holder.number, holder.buildid = 7, 7
        running.master.botmaster.builders["first"].building.append(holder)
        await _claim(running, LOCK, WORKER_LOCK, owner=holder)
        await running.request("check")

        [(kind, text)] = await _explained(running)
        running.master.botmaster.builders["first"].building.remove(holder)

        assert kind == "lock"
        assert text in ("lock release is held by first #7", "lock disk is held by first #7")


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"canStartBuild": _never}, "canStartBuild (_never) of builder check may have refused it"),
        (
            {"nextWorker": lambda *_: None},
            "nextWorker (<lambda>) of builder check may have refused it",
        ),
        (
            {"canStartBuild": util.enforceChosenWorker},
            "canStartBuild (enforceChosenWorker) of builder check may have refused it",
        ),
    ],
    ids=["canStartBuild", "nextWorker", "enforceChosenWorker"],
)
@pytest_twisted.ensureDeferred
async def test_a_function_of_master_cfg_that_refuses_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any], text: str
) -> None:
    async with _running(tmp_path, monkeypatch, _pool(), **how) as running:
        await running.request("check", workername="another")

        assert await _explained(running) == [("veto", text)]


@pytest_twisted.ensureDeferred
async def test_a_child_whose_parents_have_every_vm_waits_in_a_circle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _running(tmp_path, monkeypatch, _pool()) as running:
        await _busy(running)
        await running.request("check")
        [parent] = running.master.botmaster.builders["first"].building
        await running.until(lambda: parent.buildid)
        assert [kind for kind, _ in await _explained(running)] == ["cap"]

        await running.request_as("check", {}, parent_buildid=parent.buildid)

        explained = await _explained(running)
        assert {kind for kind, _ in explained} == {"circle"}
        assert explained[0][1].startswith("max_vms of the master is reached (1), and each VM")


@pytest.mark.parametrize(
    "locks",
    [[LOCK.access("counting")], util.renderer(lambda _properties: [LOCK.access("exclusive")])],
    ids=["plain", "rendered"],
)
@pytest_twisted.ensureDeferred
async def test_a_child_whose_parent_has_its_lock_waits_in_a_circle_and_others_for_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: Any
) -> None:
    async with _running(tmp_path, monkeypatch, _pool(max_vms=2), locks=locks) as running:
        await _busy(running)
        [parent] = running.master.botmaster.builders["first"].building
        await running.until(lambda: parent.buildid)
        await _claim(running, LOCK, owner=parent)
        real = await running.master.botmaster.getLockByID(LOCK, 0)
        parent._locks_to_acquire = [(real, LOCK.access("exclusive"))]
        await running.request_as("check", {}, parent_buildid=parent.buildid)
        await running.request("check")

        (circle, why), other = await _explained(running)
        held = "lock release is held by first #1"
        assert (circle, other) == ("circle", ("lock", held))
        assert why.startswith(f"{held}, which waits for this request: neither can go on")


@pytest_twisted.ensureDeferred
async def test_room_that_is_kept_for_children_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = _pool(max_vms=2, debian={"reserve_for_children": 1})
    async with _running(tmp_path, monkeypatch, pool) as running:
        await _busy(running)
        await running.request("check")

        [(kind, text)] = await _explained(running)
        assert kind == "cap"
        assert text.endswith("is kept for builds that another one waits for (reserve_for_children)")


@pytest_twisted.ensureDeferred
async def test_a_builder_that_no_master_has_is_told_and_that_of_another_master_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _running(tmp_path, monkeypatch, _pool()) as running:
        updates = running.master.data.updates
        gone = await updates.findBuilderId("gone")
        await running.request_of(gone)

        assert await _explained(running) == [("master", "no master that runs has builder gone")]

        other = await running.master.db.masters.findMasterId("another")
        await running.master.db.masters.setMasterState(other, True)
        await running.master.db.builders.addBuilderMaster(builderid=gone, masterid=other)
        assert await _explained(running) == []


@pytest_twisted.ensureDeferred
async def test_a_label_of_properties_is_the_one_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_property(pool: Pool) -> dict[str, Any]:
        config = _builders(pool)
        worker = LibvirtLatentWorker("any-1", pool=pool.name, label=util.Property("label"))
        config["workers"].append(worker)
        for builder in config["builders"]:
            builder.workernames = ["any-1"]
        return config

    pool = _pool(max_vms=5, debian={}, fedora={})
    async with master_running(tmp_path, monkeypatch, pool, by_property) as running:
        running.pool.vm_pool.capacity.drained |= {
            Target("label", "fedora"),
            Target("label", "debian"),
        }
        await running.request("check", label="fedora")
        await running.request("check", label="debian")

        assert await _explained(running) == [
            ("drained", "label fedora is drained"),
            ("drained", "label debian is drained"),
        ]


@pytest_twisted.ensureDeferred
async def test_looking_at_what_waits_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _running(tmp_path, monkeypatch, _pool()) as running:
        running.master.workers.workers["debian-1"].pause("for the test")
        await running.request("check")
        await _explained(running)
        asked = running.questions

        await running.pool.waiting.refresh()

        assert running.questions == asked
        assert running.pool.vm_pool.capacity.taken == frozenset()


@pytest.mark.parametrize("lock", [None, LOCK])
@pytest_twisted.ensureDeferred
async def test_a_worker_is_not_looked_at_for_each_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: Any
) -> None:
    looked_at: list[str] = []
    original = workers_of_builder._why_unable

    def why_unable(wfb: Any) -> str:
        looked_at.append(wfb.worker.name)
        return original(wfb)

    monkeypatch.setattr(workers_of_builder, "_why_unable", why_unable)
    locks = [] if lock is None else [lock.access("exclusive")]
    async with _running(tmp_path, monkeypatch, _pool(max_vms=4), locks=locks) as running:
        for _ in range(4):
            await _busy(running)
        await running.request("check")
        await running.fill("check", 100)
        looked_at.clear()

        explained = await _explained(running)
        assert len(explained) == 101
        # Each explanation of all looks twice at each of four workers. One may come every 5 s.
        assert len(looked_at) < len(explained)
