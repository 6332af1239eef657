# SPDX-License-Identifier: GPL-2.0-only
"""Slots with devices are for the labels that need them, and no device is in two VMs."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from latent_libvirt.config import PoolConfig
from latent_libvirt.config.hardware.devices import addresses_in
from latent_libvirt.pool.room.allocations import Allocation
from paper_pool import PaperPool, config_of

NEEDS = {"devices": ["gpu"], "start": "boot", "image": "debian-12"}


def config(gpus: dict[str, int], *, slots: int = 3) -> PoolConfig:
    """Return one of hosts with so many devices, of which label `render` needs one."""
    plain = config_of(hosts=tuple(gpus), slots=slots, one={})
    hosts: dict[str, Any] = {}
    for number, (name, count) in enumerate(gpus.items()):
        addresses = [f"{number:04x}:{each:02x}:00.0" for each in range(1, count + 1)]
        devices = [{"name": "gpu", "addresses": addresses}] if count else []
        host = {"storage_pool": "default", "slots": slots, "uri": plain.hosts[name].uri}
        hosts[name] = {**host, "devices": devices}
    labels = {"one": {"image": "debian-12"}, "render": NEEDS}
    return PoolConfig.model_validate({"master": {"max_vms": 9}, "hosts": hosts, "labels": labels})


def test_a_label_that_needs_a_device_gets_a_slot_that_has_one() -> None:
    pool = PaperPool(config({"alpha": 1, "beta": 0}))

    assert pool.give("one", "a").vm.allocation.slot != 1 or pool.capacity.room("render")
    lease = pool.give("render", "b")

    assert (lease.vm.host.name, lease.vm.allocation.slot) == ("alpha", 1)
    assert not pool.capacity.room("render")
    assert pool.capacity.room("one")


def test_other_labels_take_slots_with_devices_last() -> None:
    pool = PaperPool(config({"alpha": 2}))

    assert [pool.give("one", worker).vm.allocation.slot for worker in "abc"] == [3, 1, 2]


def test_a_spare_of_another_label_makes_way_for_a_vm_that_needs_its_device() -> None:
    pool = PaperPool(config({"alpha": 1}, slots=1))
    spare = pool.capacity.take("one")
    assert spare is not None

    assert not pool.capacity.room("render")
    assert pool.capacity.room_without("render", [spare])


@given(st.lists(st.tuples(st.sampled_from(["one", "render"]), st.integers(0, 5)), max_size=100))
def test_no_device_is_ever_in_two_vms(steps: list[tuple[str, int]]) -> None:
    made = config({"alpha": 2, "beta": 1})
    capacity = PaperPool(made).capacity
    taken: list[Allocation] = []
    for label, end in steps:
        if end < len(taken):
            capacity.give_back(taken.pop(end))
        elif (allocation := capacity.take(label)) is not None:
            taken.append(allocation)
        used = [
            address
            for each in taken
            if each.label == "render"
            for address in addresses_in(each.slot, made.hosts[each.host].devices, ["gpu"])
        ]
        assert len(used) == len(set(used))
