# SPDX-License-Identifier: GPL-2.0-only
"""The key `cpu` of a label: a slip of one of its words is no model of libvirt's."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.mark.parametrize(
    ("cpu", "meant"),
    [
        ("host-passthrough", "host"),
        ("Host", "host"),
        ("hostmodel +vmx", "host-model"),
        ("host_model", "host-model"),
        ("max", "maximum"),
        ("MAXIMUM", "maximum"),
    ],
)
def test_a_slip_is_refused_with_what_was_meant(
    cpu: str, meant: str, good: str, problems_of: Callable[[str], list[str]]
) -> None:
    (problem,) = problems_of(good.replace("memory: 1GiB", f"cpu: {cpu}"))

    assert f"did you mean '{meant}'?" in problem


@pytest.mark.parametrize("cpu", ["host", "host-model -avx2", "maximum", "Nehalem", "EPYC-Milan"])
def test_what_libvirt_may_know_is_taken(
    cpu: str, good: str, problems_of: Callable[[str], list[str]]
) -> None:
    assert problems_of(good.replace("memory: 1GiB", f"cpu: {cpu}")) == []


def test_a_vm_has_at_most_16_more_disks(good: str, problems_of: Callable[[str], list[str]]) -> None:
    disks = ", ".join(f"{{name: d{number}, size: 1GiB}}" for number in range(17))

    (problem,) = problems_of(good.replace("memory: 1GiB", f"disks: [{disks}]"))

    assert "17 disks are more than a VM may have" in problem
    assert "write at most 16" in problem
