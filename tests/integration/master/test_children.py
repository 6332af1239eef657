# SPDX-License-Identifier: GPL-2.0-only
"""Builds that others wait for: they come first, and find the room that is kept for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import util
from buildbot.process.buildrequestdistributor import BasicBuildChooser

from latent_libvirt import Pool
from latent_libvirt.config import InvalidConfiguration, PoolConfig, load
from latent_libvirt.pool.child_room import may_take
from latent_libvirt.pool.room.allocations import Allocation
from latent_libvirt.pool.room.amounts import Size
from latent_libvirt.pool.room.caps import Caps
from latent_libvirt.status.names import Target
from master_in_process import Running, master_running


def pool_config(max_vms: int, **kept: int) -> dict[str, Any]:
    return {
        "master": {"max_vms": max_vms, "address": "127.0.0.1"},
        "hosts": {"here": {"uri": "test:///default", "slots": 9, "storage_pool": "default-pool"}},
        "labels": {
            name: {"image": "debian-12", "reserve_for_children": kept.get(name, 0)}
            for name in ("a", "b")
        },
    }


def configuration(pool: Pool) -> dict[str, Any]:
    return {
        "workers": pool.workers(),
        "prioritizeBuilders": pool.prioritize_builders,
        "builders": [
            util.BuilderConfig(
                builder,
                workernames=pool.worker_names("a"),
                factory=util.BuildFactory(),
                collapseRequests=False,
            )
            for builder in ("parent", "child")
        ],
    }


async def request_child(running: Running) -> None:
    """Request what a build that runs waits for."""
    builds = await running.master.db.builds.getBuilds()
    await running.request_as(
        "child", {}, parent_buildid=builds[0].id, parent_relationship="Triggered from"
    )


@pytest.mark.parametrize("registry", [False, True], ids=["our chooser", "Buildbot's own"])
@pytest_twisted.ensureDeferred
async def test_parents_leave_the_room_that_is_kept_and_a_child_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, registry: bool
) -> None:
    config = pool_config(2, a=1)
    async with master_running(tmp_path, monkeypatch, config, configuration) as running:
        if registry:
            running.master.botmaster.brd.BuildChooser = BasicBuildChooser
        for _ in range(3):
            await running.request("parent")
        await running.until(lambda: running.started)
        await running.tried()
        assert running.started == ["a"]

        await request_child(running)
        await running.until(lambda: len(running.started) == 2)
        await running.tried()
        assert len(running.started) == 2


@pytest_twisted.ensureDeferred
async def test_a_child_comes_before_parents_that_were_there_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with master_running(tmp_path, monkeypatch, pool_config(2), configuration) as running:
        await running.request("parent")
        await running.until(lambda: running.started)
        label = Target("label", "a")
        running.pool.operations.drain(label)
        for _ in range(3):
            await running.request("parent")
        await request_child(running)
        await running.tried()
        assert len(running.started) == 1

        running.pool.operations.undrain(label)
        await running.until(lambda: len(running.started) == 2)
        jobs = [lease.job.builder for lease in running.pool.vm_pool.leases.values()]
        assert sorted(jobs) == ["child", "parent"]


def _places(*labels: str) -> list[Allocation]:
    return [Allocation(label, "here", number, Size()) for number, label in enumerate(labels)]


@pytest.mark.parametrize(
    ("max_vms", "kept", "parents", "children", "expected"),
    [
        (2, {"a": 1}, [], [], True),
        (2, {"a": 1}, ["a"], [], False),
        (2, {"b": 1}, ["a"], [], False),
        (2, {"a": 1}, [], ["a"], True),
        (2, {"a": 1}, [], ["b"], False),
        (3, {"a": 1, "b": 1}, ["a"], [], False),
        (4, {"a": 1, "b": 1}, ["a"], [], True),
        (3, {"a": 2}, ["b"], ["a"], False),
        (20, {"a": 1}, ["a"] * 8, [], False),
        (20, {}, ["a"] * 8, [], True),
    ],
)
def test_others_get_a_vm_if_what_is_kept_and_not_used_by_children_is_left(
    *, max_vms: int, kept: dict[str, int], parents: list[str], children: list[str], expected: bool
) -> None:
    caps = Caps.of(PoolConfig.model_validate(pool_config(max_vms, **kept)))
    of_children = _places(*children)

    assert may_take("a", caps, [*_places(*parents), *of_children], of_children) == expected


@pytest.mark.parametrize(("cap", "kept"), [(2, 2), (2, 3), (1, 1)])
def test_to_keep_all_for_children_is_refused(tmp_path: Path, cap: int, kept: int) -> None:
    file = tmp_path / "pool.yaml"
    text = f"""
master: {{max_vms: {cap}}}
hosts: {{here: {{uri: "test:///default", slots: 9, storage_pool: default-pool}}}}
labels: {{debian: {{image: debian-12, reserve_for_children: {kept}}}}}
"""
    file.write_text(text)

    with pytest.raises(InvalidConfiguration, match=f"{kept} of the {cap} VMs? .* leave none"):
        load(file)
