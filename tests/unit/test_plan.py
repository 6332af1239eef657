# SPDX-License-Identifier: GPL-2.0-only
"""What a VM is to be."""

from __future__ import annotations

from typing import Any

from latent_libvirt.capacity import Place
from latent_libvirt.config import PoolConfig
from latent_libvirt.host.domain_xml import Network
from latent_libvirt.host.names import Owner
from latent_libvirt.host_ranking import Size
from latent_libvirt.plan import machine_plan, network_of, wishes

GIVEN: dict[str, Any] = {
    "master": {"max_vms": 1},
    "hosts": {"alpha": {"uri": "qemu:///system", "slots": 1, "storage_pool": "builds"}},
    "labels": {"small": {"image": "debian-12", "vcpus": 4, "memory": "8GiB"}},
}
CONFIG = PoolConfig.model_validate(GIVEN)


def config_with(**label: object) -> PoolConfig:
    given = {**GIVEN, "labels": {"small": {**GIVEN["labels"]["small"], **label}}}
    return PoolConfig.model_validate(given)


def test_a_vm_that_was_made_for_another_filter_is_none_of_the_labels_any_more() -> None:
    lan = {"network": {"network": "default"}}
    kinds = [config_with(**lan), *(config_with(**lan, filter=name) for name in ("none", "mine"))]

    assert len({wishes(config, "small") for config in kinds}) == len(kinds)
    assert network_of(kinds[2].labels["small"]) == Network("network", "default", "mine")


def test_a_label_with_another_address_is_served_by_the_same_vms() -> None:
    assert wishes(config_with(address="192.0.2.1"), "small") == wishes(CONFIG, "small")


def test_a_vm_is_as_large_as_the_room_that_was_taken_for_it() -> None:
    place = Place("small", "alpha", 1, Size(vcpus=2, memory=2**30))

    plan = machine_plan(CONFIG, place, worker="small-1", owner=Owner("master", "pool"))

    assert (plan.vcpus, plan.memory) == (2, 2**30)
