# SPDX-License-Identifier: GPL-2.0-only
"""Which VM an operator means."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from latent_libvirt.control import vms
from latent_libvirt.control.messages import ControlError
from latent_libvirt.status import BuildRef, VmNames


@dataclass(frozen=True)
class AVm:
    names: VmNames


FIRST = AVm(VmNames("latent-libvirt-1", "alpha", "aa", "debian-12-1", BuildRef("check", 7, "")))
SAME_SLOT = AVm(VmNames("latent-libvirt-1", "beta", "bb", "debian-12-2", BuildRef("check", 8, "")))
SPARE = AVm(VmNames("latent-libvirt-2", "beta", "cc"))
ALL = (FIRST, SAME_SLOT, SPARE)


@pytest.mark.parametrize(
    ("name", "vm"),
    [
        ("debian-12-1", FIRST),
        ("check/7", FIRST),
        ("aa", FIRST),
        ("latent-libvirt-1@alpha", FIRST),
        ("latent-libvirt-1@beta", SAME_SLOT),
        ("check/8", SAME_SLOT),
        ("latent-libvirt-2", SPARE),
        ("cc", SPARE),
    ],
)
def test_each_name_of_a_vm_finds_it(name: str, vm: AVm) -> None:
    assert vms.find(ALL, name) is vm


def test_a_name_that_two_vms_have_is_told_with_both() -> None:
    with pytest.raises(ControlError, match="several VMs called 'latent-libvirt-1'") as caught:
        vms.find(ALL, "latent-libvirt-1")

    assert caught.value.details == (
        "  latent-libvirt-1@alpha (worker debian-12-1, job check/7, id aa)\n"
        "  latent-libvirt-1@beta (worker debian-12-2, job check/8, id bb)"
    )


@pytest.mark.parametrize("name", ["", "check", "check/9", "debian-12-3", "latent-libvirt-1@gamma"])
def test_a_name_that_no_vm_has_is_told_with_all_there_are(name: str) -> None:
    with pytest.raises(ControlError, match=f"no VM called '{name}'") as caught:
        vms.find(ALL, name)

    for vm in ALL:
        assert str(vm.names) in str(caught.value)


def test_without_any_vm_that_is_said() -> None:
    with pytest.raises(ControlError) as caught:
        vms.find([], "debian-12-1")

    assert caught.value.details == "There is no VM at all."
