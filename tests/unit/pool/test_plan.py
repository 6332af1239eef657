# SPDX-License-Identifier: GPL-2.0-only
"""What a VM is to be."""

from __future__ import annotations

from typing import Any

import pytest

from latent_libvirt.config import PoolConfig
from latent_libvirt.host.names import Owner
from latent_libvirt.pool.capacity import Allocation
from latent_libvirt.pool.placement import Size
from latent_libvirt.pool.plan import (
    machine_plan,
    plan_of,
)

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
