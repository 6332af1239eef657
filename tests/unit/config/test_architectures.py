# SPDX-License-Identifier: GPL-2.0-only
"""What a label of each architecture may ask for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from latent_libvirt.config import PoolConfig
from specs import a_spec

Load = Callable[[str], PoolConfig]
Problems = Callable[[str], list[str]]


def test_a_label_of_aarch64_has_the_machine_and_the_firmware_of_that() -> None:
    label = a_spec(arch="aarch64").label

    assert (label.machine, label.firmware) == ("virt", "uefi")
    assert a_spec(arch="aarch64", machine="virt-7.2").label.machine == "virt-7.2"


def test_an_architecture_decides_which_states_are_a_labels_own() -> None:
    plain = a_spec()

    assert a_spec(arch="x86_64").hash == plain.hash
    assert a_spec(arch="aarch64").hash != plain.hash


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("arch: arm64", "19:11: labels.debian-12.arch: 'arm64'"),
        (
            "arch: aarch64\n    machine: q35",
            "20:14: labels.debian-12.machine: aarch64 has no machine 'q35'; remove it, or write",
        ),
        (
            "arch: aarch64\n    firmware: bios",
            "20:15: labels.debian-12.firmware: aarch64 has no firmware 'bios'; remove it, or write",
        ),
        (
            "arch: aarch64\n    firmware: uefi-secure",
            "20:15: labels.debian-12.firmware: aarch64 has no firmware 'uefi-secure'",
        ),
        (
            "machine: virt-7.2",
            "19:14: labels.debian-12.machine: x86_64 has no machine 'virt-7.2'; remove it, or add",
        ),
    ],
)
def test_what_an_architecture_does_not_have_is_located_and_refused(
    problem_with: Callable[[str, str], str], keys: str, said: str
) -> None:
    found = problem_with("image: debian-12\n    memory: 1GiB", f"image: pinned\n    {keys}")

    assert found.startswith(said)


def test_defaults_may_name_the_architecture_of_all_labels(load_text: Load, good: str) -> None:
    text = good.replace("image: debian-12", "image: debian-12-aarch64")
    labels = load_text(f"{text}defaults: {{labels: {{arch: aarch64}}}}\n").labels.values()

    assert {(label.arch, label.machine, label.firmware) for label in labels} == {
        ("aarch64", "virt", "uefi")
    }


def test_a_machine_of_the_defaults_that_a_label_cannot_have_is_refused(
    problems_of: Problems, good: str
) -> None:
    text = good.replace("image: debian-12\n    memory: 1GiB", "image: pinned\n    arch: aarch64")

    (problem,) = problems_of(f"{text}defaults: {{labels: {{machine: pc-q35-7.2}}}}\n")

    assert problem.startswith(
        "17:3: labels.debian-12.machine: aarch64 has no machine 'pc-q35-7.2' (`machine` is from "
        "`defaults`, line 24); remove it"
    )
