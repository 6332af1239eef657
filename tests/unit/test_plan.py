# SPDX-License-Identifier: GPL-2.0-only
"""What a VM is to be."""

from __future__ import annotations

from latent_libvirt.capacity import Place
from latent_libvirt.config import PoolConfig
from latent_libvirt.host.names import Owner
from latent_libvirt.host_ranking import Size
from latent_libvirt.plan import machine_plan

CONFIG = PoolConfig.model_validate(
    {
        "master": {"max_vms": 1},
        "hosts": {"alpha": {"uri": "qemu:///system", "slots": 1, "storage_pool": "builds"}},
        "labels": {"small": {"image": "debian-12", "vcpus": 4, "memory": "8GiB"}},
    }
)


def test_a_vm_is_as_large_as_the_room_that_was_taken_for_it() -> None:
    place = Place("small", "alpha", 1, Size(vcpus=2, memory=2**30))

    plan = machine_plan(CONFIG, place, worker="small-1", owner=Owner("master", "pool"))

    assert (plan.vcpus, plan.memory) == (2, 2**30)
