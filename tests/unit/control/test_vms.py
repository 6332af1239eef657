# SPDX-License-Identifier: GPL-2.0-only
"""Which VM an operator means."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from latent_libvirt.control import vms
from latent_libvirt.control.messages import ControlError
from latent_libvirt.status.names import BuildRef, VmNames


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


FROZEN = vms.Other(VmNames("latent-libvirt-1", "alpha", "ff", "debian-12-1"), "is frozen", "Thaw.")


@pytest.mark.parametrize("name", ["debian-12-1", "latent-libvirt-1@alpha"])
def test_a_name_that_also_a_vm_of_another_kind_has_is_refused(name: str) -> None:
    with pytest.raises(ControlError, match=f"several VMs called '{name}'") as caught:
        vms.find([FIRST, SPARE], name, [FROZEN])

    assert caught.value.details == (
        "  latent-libvirt-1@alpha (worker debian-12-1, id ff) is frozen\n"
        "  latent-libvirt-1@alpha (worker debian-12-1, job check/7, id aa)"
    )
    assert caught.value.resolution == "Say which by its id: aa or ff."


def test_a_vm_that_is_just_being_thawed_is_one_vm() -> None:
    thawing = AVm(FROZEN.names)
    assert vms.find([FIRST, thawing], "ff", [FROZEN]) is thawing


def test_vms_of_other_kinds_are_among_those_there_are() -> None:
    with pytest.raises(ControlError) as caught:
        vms.find([], "nobody", [FROZEN])

    assert f"{FROZEN.names} is frozen" in str(caught.value.details)


@pytest.mark.parametrize(
    ("names", "resolution"),
    [
        (
            [("a", "w-1", ("check", 1)), ("b", "w-2", ("check", 2)), ("c", "w-2", ("docs", 1))],
            "Say which by its job: check/1, check/2 or docs/1.",
        ),
        ([("a", "w-1", ("check", 1)), ("b", "w-2", None)], "Say which by its worker: w-1 or w-2."),
        ([("a", "w-1", None), ("b", "", None)], "Say which by its id: a or b."),
    ],
)
def test_the_refusal_names_what_tells_them_apart(
    names: list[tuple[str, str, tuple[str, int] | None]], resolution: str
) -> None:
    there = [
        AVm(VmNames("d", "alpha", vm_id, worker, job and BuildRef(*job, "")))
        for vm_id, worker, job in names
    ]
    with pytest.raises(ControlError, match="several") as caught:
        vms.find(there, "d")

    assert caught.value.resolution == resolution


def test_a_name_that_a_third_vm_has_tells_nothing_apart() -> None:
    there = [
        AVm(VmNames("d", host, f"id-{host}", worker)) for host, worker in (("a", "w"), ("b", "v"))
    ]
    third = AVm(VmNames("e", "a", "third", "w"))

    with pytest.raises(ControlError, match="several") as caught:
        vms.find([*there, third], "d")

    assert caught.value.resolution == "Say which by its DOMAIN@HOST: d@a or d@b."


def test_without_any_vm_that_is_said() -> None:
    with pytest.raises(ControlError) as caught:
        vms.find([], "debian-12-1")

    assert caught.value.details == "There is no VM at all."
