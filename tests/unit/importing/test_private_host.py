# SPDX-License-Identifier: GPL-2.0-only
"""The private host of an import: its pool, and whether it uses KVM."""

from __future__ import annotations

from pathlib import Path

import pytest

from latent_libvirt.config.units import GIB, MIB
from latent_libvirt.importing.private_host import Machine, usable_accelerator


def test_the_vm_of_the_check_has_the_disk_of_the_image() -> None:
    machine = Machine(vcpus=2, memory=GIB, disk=20 * GIB + MIB, accelerator="tcg")
    config = machine.configuration("qemu+unix:///session?socket=/tmp/x")

    assert config.labels["source"].disk == 20 * GIB + MIB
    assert config.labels["result"].disk is None
    assert {label.memory for label in config.labels.values()} == {GIB}
    assert config.hosts["import"].slots == 1


@pytest.mark.parametrize(
    ("flags", "there", "accelerator"),
    [
        ("flags : fpu vmx sse", True, "kvm"),
        ("flags : fpu svm sse", True, "kvm"),
        ("flags : fpu sse", True, "tcg"),
        ("flags : fpu vmx sse", False, "tcg"),
    ],
)
def test_kvm_needs_its_device_and_a_processor_that_has_it(
    tmp_path: Path, flags: str, *, there: bool, accelerator: str
) -> None:
    device, processors = tmp_path / "kvm", tmp_path / "cpuinfo"
    processors.write_text(f"processor : 0\n{flags}\n")
    if there:
        device.touch()

    assert usable_accelerator(device, processors) == accelerator
