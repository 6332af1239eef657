# SPDX-License-Identifier: GPL-2.0-only
"""What guests a host can run. libvirt is a fake: one machine has only what is installed on it."""

from __future__ import annotations

from typing import cast

import libvirt

from latent_libvirt.config.units import GIB
from latent_libvirt.host.architectures import Architectures, architectures
from latent_libvirt.host.machine_room import MachineRoom
from specs import a_spec

SAYS = """
<capabilities>
  <host><cpu><arch>{native}</arch></cpu></host>
  <guest><os_type>hvm</os_type><arch name="x86_64"><domain type="qemu"/>{kvm}</arch></guest>
  <guest><os_type>hvm</os_type><arch name="armv7l"><domain type="qemu"/></arch></guest>
  {more}
</capabilities>
"""
AARCH64 = '<guest><arch name="aarch64"><domain type="qemu"/></arch></guest>'


class Host:
    """A connection to a host whose libvirt says this."""

    def __init__(self, says: str) -> None:
        self._says = says

    def getCapabilities(self) -> str:  # noqa: N802 - libvirt's
        return self._says


def of(native: str = "x86_64", kvm: str = '<domain type="kvm"/>', more: str = "") -> Architectures:
    says = SAYS.format(native=native, kvm=kvm, more=more)
    return architectures(cast("libvirt.virConnect", Host(says)))


def test_each_architecture_is_run_with_kvm_or_emulated() -> None:
    assert str(of(more=AARCH64)) == "aarch64 (emulated), x86_64 (with KVM)"
    assert str(of(kvm="")) == "x86_64 (emulated)"


def test_one_that_is_lacked_is_named_with_its_package() -> None:
    found = of()

    assert found.why_not("x86_64", accelerator="kvm") == ""
    assert found.why_not("aarch64") == (
        "it has no QEMU for aarch64 (Debian: install qemu-system-arm, and restart libvirtd)"
    )
    assert of(more=AARCH64).why_not("aarch64") == ""


def test_a_host_that_may_not_emulate_runs_its_own_architecture_alone() -> None:
    found = of(more=AARCH64)

    assert "it has no KVM for aarch64" in found.why_not("aarch64", accelerator="kvm")
    assert found.why_not("x86_64", accelerator="kvm") == ""
    arm = of(native="aarch64", more=AARCH64)
    assert "it has no KVM for x86_64" in arm.why_not("x86_64", accelerator="kvm")


def test_what_libvirt_does_not_say_is_not_lacked() -> None:
    connection = libvirt.open("test:///default")
    try:
        found = architectures(connection)  # of libvirt's test driver: it has no QEMU at all
    finally:
        connection.close()

    assert found.native == "x86_64"
    assert found.why_not("aarch64", accelerator="kvm") == ""


def test_a_label_of_another_architecture_is_unfit_whatever_its_size() -> None:
    room = MachineRoom(4, 8 * GIB, of())

    assert "aarch64" in room.why_unfit(a_spec(arch="aarch64").label, accelerator="auto")
    assert room.why_unfit(a_spec().label, accelerator="auto") == ""
    assert "64 vCPUs" in room.why_unfit(a_spec(vcpus=64).label, accelerator="auto")
