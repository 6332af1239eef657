# SPDX-License-Identifier: GPL-2.0-only
"""What a VM is to be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from latent_libvirt.config import PoolConfig
from latent_libvirt.host.names import OwnedVolume, Owner
from latent_libvirt.host.states.frozen import FrozenVm
from latent_libvirt.pool.plan import (
    machine_plan,
    plan_of,
    size_of,
    size_of_frozen,
)
from latent_libvirt.pool.records.rollout.canaries import Choice
from latent_libvirt.pool.room.allocations import Allocation
from latent_libvirt.pool.room.amounts import Size

GIVEN: dict[str, Any] = {
    "master": {"max_vms": 1},
    "hosts": {"alpha": {"uri": "qemu:///system", "slots": 1, "storage_pool": "builds"}},
    "labels": {"small": {"image": "debian-12", "vcpus": 4, "memory": "8GiB"}},
}
CONFIG = PoolConfig.model_validate(GIVEN)


def test_a_vm_is_as_large_as_the_room_that_was_taken_for_it() -> None:
    allocation = Allocation("small", "alpha", 1, Size(vcpus=2, memory=2**30))

    owner = Owner("master", "pool")
    plan = machine_plan(CONFIG, allocation, worker="small-1", owner=owner, now=0.0)

    assert (plan.vm.label.vcpus, plan.vm.label.memory) == (2, 2**30)
    assert plan.record.spec_hash == plan.vm.hash


@pytest.mark.parametrize(
    ("worker", "only_to_save", "state", "start"),
    [
        ("small-1", False, "job", "resume"),
        ("", False, "spare", "resume"),
        ("", True, "saving", "save"),
    ],
)
def test_the_metadata_of_a_vm_say_whose_it_is_what_it_is_for_and_since_when(
    worker: str, *, only_to_save: bool, state: str, start: str
) -> None:
    owner = Owner("builder:/srv/master", "pool")
    allocation = Allocation("small", "alpha", 3, Size(vcpus=2, memory=2**30))

    plan = machine_plan(
        CONFIG, allocation, worker=worker, owner=owner, now=1e9 + 0.9, only_to_save=only_to_save
    )

    record = plan.record
    assert (plan.slot, plan.start) == (3, start)
    assert (record.owner_id, record.master, record.pool) == (owner.id, owner.master, "pool")
    assert (record.label, record.image, record.worker) == ("small", "debian-12", worker)
    assert (record.state, record.since) == (state, "2001-09-09T01:46:40+00:00")
    assert record.until == ""


def test_no_two_vms_have_the_same_id() -> None:
    allocation = Allocation("small", "alpha", 1, Size(vcpus=2, memory=2**30))
    owner = Owner("master", "pool")

    ids = {
        machine_plan(CONFIG, allocation, worker="", owner=owner, now=0.0).record.vm_id
        for _ in range(100)
    }

    assert len(ids) == 100
    assert {len(vm_id) for vm_id in ids} == {16}


def test_a_vm_of_an_earlier_master_keeps_what_is_said_of_it() -> None:
    allocation = Allocation("small", "alpha", 1, Size(vcpus=2, memory=2**30))
    before = machine_plan(
        CONFIG, allocation, worker="", owner=Owner("master", "pool"), now=0.0
    ).record

    plan = plan_of(CONFIG, allocation, before)

    assert plan.record is before
    assert (plan.slot, plan.start) == (1, "resume")


def test_the_size_that_a_build_has_chosen_is_in_the_metadata_of_its_vm() -> None:
    choice = {"min": 1, "max": 6, "default": 2}
    labels = {"small": GIVEN["labels"]["small"], "any": {"image": "debian-12", "vcpus": choice}}
    config = PoolConfig.model_validate({**GIVEN, "labels": labels})
    owner = Owner("master", "pool")

    records = [
        machine_plan(config, Allocation(label, "alpha", 1, size), worker="w", owner=owner, now=0.0)
        for label, size in (("any", Size(5, 2**29)), ("small", Size(4, 2**33)))
    ]

    assert [plan.record.size for plan in records] == [f"5x{2**29}", ""]
    assert [size_of(config, plan.record) for plan in records] == [Size(5, 2**29), None]
    unknown = replace(records[0].record, label="unknown")
    assert size_of(config, unknown) is None


@pytest.mark.parametrize(("is_trial", "start"), [(True, "boot"), (False, "resume")])
def test_a_version_on_trial_is_booted(start: str, *, is_trial: bool) -> None:
    allocation = Allocation("small", "alpha", 1, Size(vcpus=2, memory=2**30))
    choice = Choice("0123456789ab", is_trial=is_trial)

    plan = machine_plan(
        CONFIG, allocation, worker="", owner=Owner("master", "pool"), now=0.0, choice=choice
    )

    assert (plan.version, plan.start) == ("0123456789ab", start)


@pytest.mark.parametrize(
    ("vcpus", "memory", "size"),
    [(3, 2**31, Size(3, 2**31)), (0, 2**31, None), (3, 0, None), (1, 1, Size(1, 1))],
)
def test_a_frozen_vm_has_the_size_that_its_host_knows(
    vcpus: int, memory: int, size: Size | None
) -> None:
    allocation = Allocation("small", "alpha", 1, Size(vcpus=2, memory=2**30))
    record = machine_plan(
        CONFIG, allocation, worker="", owner=Owner("master", "pool"), now=0.0
    ).record
    name = OwnedVolume(record.owner_id, 1, record.vm_id)

    vm = FrozenVm(name, record, "", "", 1, vcpus, memory)

    assert size_of_frozen(CONFIG, vm) == size
