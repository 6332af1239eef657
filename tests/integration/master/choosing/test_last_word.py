# SPDX-License-Identifier: GPL-2.0-only
"""What is left of a question whether a build may start, when Buildbot then refuses the build."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import pytest_twisted
from buildbot.plugins import util
from buildbot.process.buildrequestdistributor import BasicBuildChooser
from twisted.internet.defer import Deferred

from latent_libvirt import Pool
from latent_libvirt.master.workers.leased_vm import LeasedVm
from latent_libvirt.master.workers.worker import LibvirtLatentWorker
from latent_libvirt.pool.lease import Idle
from latent_libvirt.pool.room.allocations import Allocation
from master_in_process import Running, master_running

POOL = {
    "master": {"max_vms": 1, "address": "127.0.0.1"},
    "hosts": {"here": {"uri": "test:///default", "slots": 4, "storage_pool": "default-pool"}},
    "labels": {"debian": {"image": "debian-12", "max_vms": 1}},
}
BY_PROPERTY: dict[str, Any] = {
    **POOL,
    "master": {"max_vms": 2, "address": "127.0.0.1"},
    "labels": {"debian": {"image": "debian-12"}, "other": {"image": "debian-12"}},
}
LOCK = util.MasterLock("release")
WORKER_LOCK = util.WorkerLock("disk")


def _never(*_args: object) -> bool:
    return False


REFUSALS = {
    "a lock of the master": {"locks": [LOCK.access("exclusive")]},
    "a counting lock": {"locks": [LOCK.access("counting")]},
    "a lock of the worker": {"locks": [WORKER_LOCK.access("exclusive")]},
    "a rendered lock": {"locks": util.renderer(lambda _props: [LOCK.access("exclusive")])},
    "canStartBuild": {"canStartBuild": _never},
    "enforceChosenWorker": {"canStartBuild": util.enforceChosenWorker},
}


def _configuration(pool: Pool, **how: Any) -> dict[str, Any]:
    workers = pool.workers()
    return {
        "workers": workers,
        "prioritizeBuilders": pool.prioritize_builders,
        "builders": [
            util.BuilderConfig(
                "check",
                workernames=[w.name for w in workers],
                factory=util.BuildFactory(),
                collapseRequests=False,
                **how,
            )
        ],
    }


async def _hold_locks(running: Running) -> None:
    for lock in (LOCK, WORKER_LOCK):
        real = await running.master.botmaster.getLockByID(lock, 0)
        real.getLockForWorker("debian-1").claim(running, lock.access("exclusive"))


@pytest.mark.parametrize("stock", [False, True], ids=["our chooser", "Buildbot's own"])
@pytest.mark.parametrize("why", REFUSALS)
@pytest_twisted.ensureDeferred
async def test_a_build_that_buildbot_refuses_takes_no_room_no_turn_and_ends_no_vm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str, *, stock: bool
) -> None:
    async with master_running(
        tmp_path, monkeypatch, POOL, lambda pool: _configuration(pool, **REFUSALS[why])
    ) as running:
        if stock:
            running.master.botmaster.brd.BuildChooser = BasicBuildChooser
        taken: list[str] = []
        monkeypatch.setattr(running.pool.vm_pool.allocator, "take", taken.append)
        monkeypatch.setattr(running.pool.vm_pool.allocator, "make_room", taken.append)
        await _hold_locks(running)
        for _ in range(3):
            await running.request("check", workername="another")
        await running.tried()

        assert taken == []
        assert not running.pool.vm_pool.admission.fair_share._served["check"]


@pytest_twisted.ensureDeferred
async def test_room_is_free_again_when_another_master_has_claimed_the_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with master_running(tmp_path, monkeypatch, POOL, _configuration) as running:
        updates = running.master.data.updates
        given: list[int] = []

        async def lost(brids: list[int], **_how: object) -> bool:
            given.append(len(running.pool.vm_pool.capacity.taken))
            await running.master.db.buildrequests.completeBuildRequests(brids, 0)
            return False

        monkeypatch.setattr(updates, "claimBuildRequests", lost)
        await running.request("check")
        await running.tried()

        assert given == [1]
        assert not running.pool.vm_pool.capacity.taken
        assert not running.pool.vm_pool.admission.fair_share._served["check"]


@pytest_twisted.ensureDeferred
async def test_a_worker_that_is_paused_while_it_is_asked_gets_no_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pause(_builder: object, wfb: Any, _request: object) -> bool:
        wfb.worker.pause("test")
        return True

    async with master_running(
        tmp_path, monkeypatch, POOL, lambda pool: _configuration(pool, canStartBuild=pause)
    ) as running:
        await running.request("check")
        await running.tried()

        assert running.questions == 1
        assert not running.pool.vm_pool.capacity.taken


@pytest_twisted.ensureDeferred
async def test_the_cap_holds_although_room_is_taken_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {**POOL, "labels": {"debian": {"image": "debian-12", "max_vms": 3}}}
    async with master_running(tmp_path, monkeypatch, config, _configuration) as running:
        for _ in range(3):
            await running.request("check")
        await running.tried()
        await running.until(lambda: running.started)
        await running.tried()

        assert running.started == ["debian"]
        assert len(running.pool.vm_pool.capacity.taken) == 1


def _two_workers_for_any_label(_pool: Pool) -> dict[str, Any]:
    label = util.Property("label")
    return {
        "workers": [LibvirtLatentWorker(name, label=label) for name in ("any-1", "any-2")],
        "builders": [
            util.BuilderConfig(
                name, workernames=["any-1", "any-2"], factory=util.BuildFactory(), locks=locks
            )
            for name, locks in (("check", []), ("locked", [LOCK.access("exclusive")]))
        ],
    }


def _let_all_vms_idle(running: Running, monkeypatch: pytest.MonkeyPatch) -> list[Allocation]:
    """Give each worker a VM of label "other" that idles; return the list of those that end."""
    ended: list[Allocation] = []

    def end(place: Allocation) -> Deferred[None]:
        ended.append(place)
        return Deferred()

    for worker in running.master.workers.workers.values():
        place = running.pool.vm_pool.capacity.take("other")
        running.pool.vm_pool.capacity.note_started(place)
        lease = SimpleNamespace(
            idle=Idle(partial(end, place)),
            label_name="other",
            suits=lambda label, _size: label == "other",
            label=running.pool.config.labels["other"],
            vm=SimpleNamespace(allocation=place),
            job=None,
        )
        monkeypatch.setattr(
            worker, "_vm", LeasedVm(cast("Any", lease), running.pool.vm_pool, worker)
        )
        running.pool.vm_pool.leases._leases[worker.name] = lease
    return ended


@pytest_twisted.ensureDeferred
async def test_a_job_ends_one_idle_vm_of_another_label_and_none_while_its_lock_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The VMs are stand-ins: what is asked of them is all that matters."""
    async with master_running(
        tmp_path, monkeypatch, BY_PROPERTY, _two_workers_for_any_label
    ) as running:
        with monkeypatch.context() as until_the_end:
            ended = _let_all_vms_idle(running, until_the_end)
            await _hold_locks(running)
            await running.request("locked", label="debian")
            await running.tried()
            assert ended == []

            await running.request("check", label="debian")
            await running.tried()
            await running.tried()
            assert len(ended) == 1
            running.pool.vm_pool.leases._leases.clear()
