# SPDX-License-Identifier: GPL-2.0-only
"""CPUs of a slot, asked for after the host's configuration has changed."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from latent_libvirt.config import HostConfig, LabelConfig
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.host.context import PoolContext
from latent_libvirt.host.host import Host
from latent_libvirt.host.names import Owner


def host_with(*sets: str) -> Host:
    memory: Any = None
    context = PoolContext(Owner("master", "pool"), {}, memory, lambda: None, Clock())
    config = HostConfig(
        uri="test:///default", slots=len(sets), storage_pool="default", pinned_cpus=sets
    )
    return Host("alpha", config, context)


def test_a_slot_has_the_cpus_of_its_set() -> None:
    label = LabelConfig(image="one", cpu_pinning=True, vcpus=2)

    assert host_with("0-1", "2-3").slot_hardware.cpus(2, label) == (2, 3)


@pytest.mark.parametrize("slot", [1, 3])
def test_a_vm_whose_slot_has_lost_its_cpus_is_refused_with_a_reason(slot: int) -> None:
    label = LabelConfig(image="one", cpu_pinning=True, vcpus=2)

    with pytest.raises(ConfigurationError, match=f"slot {slot} of host alpha has"):
        host_with("0", "2-3").slot_hardware.cpus(slot, label)
