# SPDX-License-Identifier: GPL-2.0-only
"""Which VMs are too large for a host."""

from __future__ import annotations

from typing import Any, cast

import libvirt
import pytest

from latent_libvirt.config.units import GIB
from latent_libvirt.host.machine_room import MachineRoom, machine_room


def test_what_a_vm_can_have_is_asked_of_libvirt() -> None:
    connection = libvirt.open("test:///default")
    try:
        room = machine_room(connection)  # of libvirt's test driver: it has no capabilities
        _model, mebibytes, cpus, *_ = connection.getInfo()
    finally:
        connection.close()

    assert room == MachineRoom(cpus, mebibytes * 2**20)


def test_what_is_too_large_is_said_with_both_figures() -> None:
    room = MachineRoom(4, 8 * GIB)

    assert room.why_too_large(vcpus=4, memory=8 * GIB) == ""
    assert "512 GiB of memory are more than its 8 GiB" in room.why_too_large(
        vcpus=1, memory=512 * GIB
    )
    assert "64 vCPUs are more than the 4" in room.why_too_large(vcpus=64, memory=GIB)


@pytest.mark.parametrize("nothing", [0, -1])
def test_what_a_host_says_that_it_has_none_of_is_not_lacked(nothing: int) -> None:
    room = MachineRoom(nothing, nothing * GIB)

    assert room.why_too_large(vcpus=64, memory=512 * GIB) == ""


@pytest.mark.parametrize("most", ["0", "-1", "many", "9" * 5000])
def test_a_number_of_vcpus_that_can_be_none_is_passed_over(most: str) -> None:
    class Host:
        def getInfo(self) -> list[Any]:  # noqa: N802 - libvirt's
            return ["x86_64", 1024, 4, 0, 1, 1, 4, 1]

        def getCapabilities(self) -> str:  # noqa: N802
            return "<capabilities/>"

        def getDomainCapabilities(self, *_: object) -> str:  # noqa: N802
            return f"<domainCapabilities><vcpu max='{most}'/></domainCapabilities>"

    assert machine_room(cast("libvirt.virConnect", Host())).vcpus == 4
