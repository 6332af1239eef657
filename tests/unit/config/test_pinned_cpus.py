# SPDX-License-Identifier: GPL-2.0-only
"""CPUs of a host that are for pinned VMs: what can be a set, and what a label needs of a host."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from latent_libvirt.config.fields.hardware import cpu_set
from latent_libvirt.config.hardware import cpu_sets

ALPHA = "slots: 4"


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0", (0,)), ("2-5,8", (2, 3, 4, 5, 8)), ("8,2-3,3", (2, 3, 8)), ("4095", (4095,))],
)
def test_a_set_of_cpus_is_what_libvirt_writes(text: str, numbers: tuple[int, ...]) -> None:
    assert cpu_set(text) == text
    assert cpu_sets.cpus(text) == numbers


@given(st.text(alphabet="0123456789-,^ a"))
def test_any_text_is_a_set_or_is_refused(text: str) -> None:
    try:
        cpu_set(text)
    except PydanticCustomError:
        return
    assert 0 < len(cpu_sets.cpus(text)) <= cpu_sets.MOST_CPUS


@pytest.mark.parametrize(
    ("sets", "problem"),
    [
        ("2-5", "hosts.alpha.pinned_cpus: '2-5' is not a list; write a set for each slot"),
        ("['5-2']", "hosts.alpha.pinned_cpus[0]: '5-2' has no CPU; write the smaller"),
        ("['^2']", "hosts.alpha.pinned_cpus[0]: '^2' is not a set of CPUs"),
        ("['4096']", "hosts.alpha.pinned_cpus[0]: '4096' is out of reach"),
        ("['1-3', '0', '3-4']", "hosts.alpha.pinned_cpus[2]: CPU 3 is in another set already"),
    ],
)
def test_what_two_vms_would_share_is_refused_where_it_stands(
    sets: str, problem: str, problem_with: Callable[[str, str], str]
) -> None:
    assert problem in problem_with(ALPHA, f"{ALPHA}\n    pinned_cpus: {sets}")
