# SPDX-License-Identifier: GPL-2.0-only
"""What a VM is to be."""

from __future__ import annotations

from typing import Any

from latent_libvirt.config import PoolConfig
from latent_libvirt.host.names import Owner
from latent_libvirt.pool.capacity import Allocation
from latent_libvirt.pool.placement import Size
from latent_libvirt.pool.plan import (
    machine_plan,
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
