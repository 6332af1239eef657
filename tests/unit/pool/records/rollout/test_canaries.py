# SPDX-License-Identifier: GPL-2.0-only
"""A new version of an image gets a share of the VMs of a real pool, over hosts on paper."""

from __future__ import annotations

from collections import Counter

import pytest
import pytest_twisted
from twisted.logger import capturedLogs, formatEvent

from latent_libvirt.config import PoolConfig
from latent_libvirt.control.operations import Facts, Operations
from latent_libvirt.errors import GuestError, HostError
from latent_libvirt.host.volumes.base_image import BaseImage
from latent_libvirt.host.volumes.storage import Backing
from latent_libvirt.pool.lease import Lease
from latent_libvirt.pool.records.rollout.canaries import NEWEST
from latent_libvirt.pool.records.rollout.rollout import Rollout
from latent_libvirt.pool.records.rollout.rule import ENOUGH
from paper_pool import PaperPool, config_of, machine_of


def config(*, slots: int = 2, **label: object) -> PoolConfig:
    plain = config_of(hosts=("alpha",), slots=slots, one=label, other={}).model_dump(mode="json")
    plain["hosts"]["alpha"]["uri"] = "qemu:///system"
    plain["labels"]["one"]["image"] = plain["labels"]["other"]["image"] = "debian-12"
    plain["images"] = {"debian-12": {"canary": "10%"}}
    return PoolConfig.model_validate(plain)


async def pool_on_trial(*, slots: int = 2, **label: object) -> PaperPool:
    """Return a pool that has used version ``old``, and on whose host ``new`` is published now."""
    pool = PaperPool(config(slots=slots, **label))
    publish(pool, "old", since=1.0)
    await pool.image_check.run()
    publish(pool, "new", since=2.0)
    await pool.image_check.run()
    return pool


def publish(pool: PaperPool, version: str, *, since: float, chosen: bool = False) -> None:
    for host in pool.paper_hosts.values():
        host.newest, host.newest_since, host.newest_is_chosen = version, since, chosen


async def build(pool: PaperPool, *, failed: bool = False) -> str:
    """Run a build; return the version of its VM's image."""
    lease = pool.building()
    await pool.release(lease, graceful=False, failed=failed)
    return machine_of(lease.vm).image_digest


async def fail_to_start(pool: PaperPool, error: Exception) -> tuple[str, Lease]:
    """Let a VM be lost after its image was found; return the version of that."""
    lease = pool.give()
    starting = pool.brought_up(lease)
    starting.addErrback(lambda _: None)
    machine = machine_of(lease.vm)
    machine.goes_on()
    version = machine.image_digest
    machine.fails(error)
    starting.cancel()
    await pool.release(lease, graceful=False)
    pool.clock.advance(3600.0)
    pool.hosts_changed()
    return version, lease


@pytest_twisted.ensureDeferred
async def test_one_vm_in_ten_takes_the_new_version_and_boots() -> None:
    pool = await pool_on_trial()

    versions = [await build(pool) for _ in range(30)]

    assert Counter(versions) == {"old": 27, "new": 3}
    machines = pool.paper_hosts["alpha"].machines
    assert {(each.image_digest, each.plan.start) for each in machines} == {
        ("old", "resume"),
        ("new", "boot"),
    }


@pytest_twisted.ensureDeferred
async def test_as_long_as_no_version_is_known_vms_take_the_newest() -> None:
    pool = PaperPool(config())

    assert pool.canaries.choose("one") == NEWEST
    assert pool.canaries.stable("one") == ""
    assert pool.canaries.versions("one", "new") == (frozenset({"new"}), frozenset())
    assert pool.canaries.status("one") == ""


@pytest_twisted.ensureDeferred
async def test_a_version_counts_only_once_what_an_earlier_master_has_saved_is_read() -> None:
    pool = PaperPool(config())
    newest = BaseImage("volume", None, "new", Backing("/volume", 2**20), since=2.0)
    pool.canaries.saw("one", newest)
    assert pool.canaries.stable("one") == ""
    assert pool.rollouts.saved == {}

    await pool.canaries.load()
    pool.canaries.saw("one", newest)
    pool.canaries.saw("a label that is gone", newest)

    assert pool.canaries.stable("one") == "new"
    assert list(pool.rollouts.saved) == ["debian-12"]


@pytest_twisted.ensureDeferred
async def test_a_vm_that_an_operator_has_ended_says_nothing_of_an_image() -> None:
    pool = await pool_on_trial()
    lease = pool.building()
    lease.vm.is_ended_by_operator = True
    before = dict(pool.rollouts.saved)

    await pool.release(lease, graceful=False, failed=True)

    assert pool.rollouts.saved == before


@pytest_twisted.ensureDeferred
async def test_without_a_new_version_all_vms_are_as_ever() -> None:
    pool = PaperPool(config())
    publish(pool, "old", since=1.0)
    await pool.image_check.run()
    pool.rollouts.saved.clear()

    assert {await build(pool) for _ in range(20)} == {"old"}
    assert pool.rollouts.saved == {}, "nothing has changed that is to be remembered"


@pytest_twisted.ensureDeferred
async def test_a_version_that_is_on_trial_is_logged_once() -> None:
    with capturedLogs() as events:
        pool = await pool_on_trial()
        await build(pool)
        await pool.image_check.run()

    said = [text for text in map(formatEvent, events) if text and "is on trial" in text]
    assert [text.partition(":")[0] for text in said] == ["image debian-12"]
    assert {each.plan.start for each in pool.paper_hosts["alpha"].machines} == {"resume"}


@pytest_twisted.ensureDeferred
async def test_a_version_whose_guests_do_not_come_up_goes_back_and_that_is_said() -> None:
    pool = await pool_on_trial()
    with capturedLogs() as logs:
        while not pool.told.trials:
            is_new = pool.canaries._shares["one"]._credit > 0.85
            if is_new:
                await fail_to_start(pool, GuestError("it says nothing"))
            else:
                await build(pool)

    assert pool.told.trials == [("debian-12", False)]
    said = "image debian-12: version new is withdrawn, and VMs take old: 2 of 2 starts failed"
    assert any(said in str(formatEvent(event)) for event in logs)
    (one, _other) = operations(pool).status().labels
    assert said in one.image
    assert {await build(pool) for _ in range(20)} == {"old"}


@pytest_twisted.ensureDeferred
async def test_hosts_that_fail_say_nothing_of_an_image() -> None:
    pool = await pool_on_trial()

    failed = []
    for _ in range(60):
        if pool.canaries._shares["one"]._credit > 0.85:
            failed.append((await fail_to_start(pool, HostError("no disk")))[0])
        else:
            await build(pool)

    assert failed.count("new") >= 3, "so many failures of guests withdraw a version"
    assert pool.told.trials == []


@pytest_twisted.ensureDeferred
async def test_a_vm_that_is_given_back_before_its_build_says_nothing_of_an_image() -> None:
    pool = await pool_on_trial()
    before = dict(pool.rollouts.saved)
    lease = pool.give()
    starting = pool.brought_up(lease)
    starting.addErrback(lambda _: None)
    machine_of(lease.vm).goes_on()
    assert machine_of(lease.vm).image_digest

    starting.cancel()
    await pool.release(lease, graceful=False)

    assert pool.rollouts.saved == before


@pytest_twisted.ensureDeferred
async def test_a_version_whose_builds_fail_more_often_goes_back() -> None:
    pool = await pool_on_trial()
    while not pool.told.trials:
        is_new = pool.canaries._shares["one"]._credit > 0.85
        await build(pool, failed=is_new)

    assert pool.told.trials == [("debian-12", False)]
    assert "2 of 2 builds failed" in pool.canaries.status("one")


@pytest_twisted.ensureDeferred
async def test_a_version_that_does_as_well_is_used_by_all_after_enough_builds() -> None:
    pool = await pool_on_trial()

    versions = [await build(pool) for _ in range(10 * ENOUGH + 5)]

    assert pool.told.trials == [("debian-12", True)]
    assert Counter(versions)["new"] == ENOUGH + 10
    assert versions[-5:] == ["new"] * 5


@pytest_twisted.ensureDeferred
async def test_the_next_master_knows_what_was_withdrawn() -> None:
    pool = await pool_on_trial()
    while not pool.told.trials:
        await build(pool, failed=pool.canaries._shares["one"]._credit > 0.85)

    pool.begin()
    await pool.canaries.load()

    assert await build(pool) == "old"
    await pool.image_check.run()
    assert {await build(pool) for _ in range(20)} == {"old"}


@pytest_twisted.ensureDeferred
async def test_a_rollback_by_an_operator_is_used_at_once() -> None:
    pool = await pool_on_trial()

    publish(pool, "older", since=3.0, chosen=True)
    await pool.image_check.run()

    assert {await build(pool) for _ in range(20)} == {"older"}


@pytest_twisted.ensureDeferred
async def test_spares_are_of_both_versions_and_of_no_other() -> None:
    pool = await pool_on_trial(spares=10, slots=10)
    pool.tidy()
    for vm in pool.spares:
        machine_of(vm).comes_up()
    await pool.image_check.run()

    assert Counter(vm.machine.image_digest for vm in pool.spares) == {"old": 9, "new": 1}

    publish(pool, "newer", since=3.0)
    await pool.image_check.run()
    assert Counter(vm.machine.image_digest for vm in pool.spares) == {"old": 9}


@pytest_twisted.ensureDeferred
async def test_no_job_gets_a_spare_of_a_version_that_has_just_been_withdrawn() -> None:
    pool = await pool_on_trial(spares=10, slots=12)
    pool.tidy()
    for vm in pool.spares:
        machine_of(vm).comes_up()
    (spare,) = [vm for vm in pool.spares if vm.machine.image_digest == "new"]

    while not pool.told.trials:
        pool.canaries._note("builds", spare, good=False)
        other = next(vm for vm in pool.spares if vm is not spare)
        pool.canaries._note("builds", other, good=True)
    pool.clock.advance(0)

    assert pool.told.trials == [("debian-12", False)]
    assert Counter(vm.machine.image_digest for vm in pool.spares) == {"old": 9}


@pytest_twisted.ensureDeferred
async def test_on_a_host_that_has_nothing_but_a_withdrawn_version_its_spares_stay() -> None:
    pool = PaperPool(config(spares=1))
    withdrawn = Rollout(stable="old", stable_since=1.0, withdrawn=("new",))
    await pool.rollouts.save_rollout("debian-12", withdrawn.to_plain())
    publish(pool, "new", since=2.0)
    host = pool.paper_hosts["alpha"]
    host.lacks = {"old"}
    await pool.image_check.run()
    pool.tidy()
    (spare,) = host.machines
    spare.comes_up()
    assert spare.image_digest == "new"

    await pool.image_check.run()
    assert not host.discarded
    host.lacks = set()
    await pool.image_check.run()

    assert host.discarded == [spare]


@pytest_twisted.ensureDeferred
async def test_a_host_that_does_not_answer_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = await pool_on_trial()
    pool.paper_hosts["alpha"].is_deaf = True

    await pool.image_check.run()

    assert await build(pool) == "old"


def operations(pool: PaperPool) -> Operations:
    facts = Facts(
        master="m", refused="", generation=1, loaded_at=0.0, waiting=(), explained=(), changed=()
    )
    return Operations(pool, facts=lambda: facts, undrained=lambda _target: None)
