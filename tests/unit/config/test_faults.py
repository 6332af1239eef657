# SPDX-License-Identifier: GPL-2.0-only
"""Which names are taken for slips of others, and which are not."""

from __future__ import annotations

import pytest

from latent_libvirt.advice.guesses import nearest
from latent_libvirt.config.sections.host import HostConfig
from latent_libvirt.config.sections.label import LabelConfig
from latent_libvirt.config.sections.master import MasterConfig
from latent_libvirt.config.suggestions import suggestion

KEYS = (*LabelConfig.model_fields, *HostConfig.model_fields, *MasterConfig.model_fields)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("max_vmz", "max_vms"),
        ("maxvms", "max_vms"),
        ("max-vms", "max_vms"),
        ("MAX_VMS", "max_vms"),
        ("memroy", "memory"),
        ("mem", "memory"),
        ("Image", "image"),
        ("images", "image"),
        ("vcpu", "vcpus"),
        ("cpus", "vcpus"),
        ("netwrok", "network"),
        ("boot_timout", "boot_timeout"),
        ("hold_on_fail", "hold_on_failure"),
        ("saved", "saved_state_space"),
        ("storage", "storage_pool"),
    ],
)
def test_a_slip_is_recognised(given: str, meant: str) -> None:
    assert nearest(given, dict.fromkeys(KEYS)) == meant


@pytest.mark.parametrize(
    "given",
    [
        *("sound", "display", "timeout", "cpu_model", "bios", "nested", "tags", "ram"),
        *("", "a", "m", "max", "x" * 1_000_000),
    ],
)
def test_what_is_another_thing_is_no_slip(given: str) -> None:
    assert nearest(given, dict.fromkeys(KEYS)) is None


def test_what_is_known_is_told_up_to_a_bound() -> None:
    told = suggestion("q", [f"name-{number}" for number in range(5000)], kind="names")

    assert told.endswith(" and 4950 more")
