# SPDX-License-Identifier: GPL-2.0-only
"""VMs of the doctor: made of the same as those of the pool. Their host is never connected to."""

from __future__ import annotations

from typing import Annotated

from twisted.internet.task import Clock

from latent_libvirt.config import LabelConfig, PoolConfig
from latent_libvirt.config.section import HARDWARE
from latent_libvirt.doctor.host_under_test import HostUnderTest
from latent_libvirt.host.domains.vm_spec import vm_spec
from latent_libvirt.host.names import Owner

CONFIG = PoolConfig.model_validate(
    {
        "master": {"max_vms": 1},
        "hosts": {"here": {"uri": "test:///default", "slots": 1, "storage_pool": "builds"}},
        "labels": {"small": {"image": "debian-12"}},
    }
)


class Newer(LabelConfig):
    """Labels with a key that guests see."""

    nested: Annotated[bool | None, HARDWARE] = None


def test_a_hardware_key_that_is_new_reaches_the_vm_that_the_doctor_boots() -> None:
    label = Newer.model_validate({"image": "debian-12", "nested": True})
    config = CONFIG.model_copy(update={"labels": {"small": label}})
    tested = HostUnderTest("here", config, owner=Owner("doctor", "doctor"), reactor=Clock())

    spec = tested.machine("small", 1).plan.vm

    assert spec.hash == vm_spec(config, "small").hash != vm_spec(CONFIG, "small").hash
    assert isinstance(spec.label, Newer)
    assert spec.label.nested is True
