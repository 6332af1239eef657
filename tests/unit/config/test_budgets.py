# SPDX-License-Identifier: GPL-2.0-only
"""What a host may give out, and labels that never fit."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from latent_libvirt.config import PoolConfig
from latent_libvirt.config.budgets import budget

Load = Callable[[str | bytes], PoolConfig]
Problems = Callable[[str | bytes], list[str]]

POOL = """\
master: {max_vms: 4}
hosts:
  alpha: {uri: "qemu:///system", slots: 4, storage_pool: default, ALPHA}
  beta: {uri: "qemu+ssh://beta/system", slots: 2, storage_pool: default, BETA}
labels:
  large: {image: debian-12, vcpus: 8, memory: 16GiB}
"""


def pool(alpha: str = "", beta: str = "") -> str:
    return POOL.replace(", ALPHA", f", {alpha}" if alpha else "").replace(
        ", BETA", f", {beta}" if beta else ""
    )


@pytest.mark.parametrize(
    ("amount", "overcommit", "given"),
    [(8, 1.0, 8), (8, 1.5, 12), (3, 0.5, 1), (100, 0.29, 29), (10, 1.1, 11)],
)
def test_a_budget_is_what_the_decimal_number_in_the_file_makes_of_it(
    amount: int, overcommit: float, given: int
) -> None:
    assert budget(amount, overcommit) == given


def test_a_host_without_a_budget_has_no_limit(load_text: Load) -> None:
    host = load_text(pool(alpha="vcpu_overcommit: 2.0")).hosts["alpha"]

    assert (host.vcpu_budget, host.memory_budget) == (None, None)


def test_an_overcommit_multiplies(load_text: Load) -> None:
    keys = "vcpus: 4, vcpu_overcommit: 2, memory: 32GiB, memory_overcommit: 0.5"
    host = load_text(pool(alpha=keys)).hosts["alpha"]

    assert (host.vcpu_budget, host.memory_budget) == (8, 16 * 2**30)


@pytest.mark.parametrize(
    ("alpha", "beta"),
    [
        ("vcpus: 4", ""),
        ("vcpus: 4, memory: 1GiB", "vcpus: 8, memory: 16GiB"),
        ("vcpus: 4", "vcpus: 4, vcpu_overcommit: 2.0"),
    ],
)
def test_a_label_needs_to_fit_on_one_of_its_hosts_only(
    problems_of: Problems, alpha: str, beta: str
) -> None:
    assert problems_of(pool(alpha, beta)) == []


REMEDY = "ask for less, or raise `vcpus`, `memory` or their overcommit of a host"
NOWHERE = "no host can give a VM 8 vCPUs and 16GiB of memory"


@pytest.mark.parametrize(
    ("alpha", "beta", "problem"),
    [
        (
            "vcpus: 4",
            "vcpus: 1",
            f"6:36: labels.large.vcpus: {NOWHERE} (the most of alpha: 4 vCPUs; beta: 1 vCPU)",
        ),
        (
            "memory: 8GiB",
            "vcpus: 16, vcpu_overcommit: 0.25, memory: 1GiB",
            (
                f"6:47: labels.large.memory: {NOWHERE} "
                "(the most of alpha: 8GiB of memory; beta: 4 vCPUs, 1GiB of memory)"
            ),
        ),
    ],
)
def test_a_label_that_fits_nowhere_is_told_with_what_there_is(
    problems_of: Problems, alpha: str, beta: str, problem: str
) -> None:
    assert problems_of(pool(alpha, beta)) == [f"{problem}; {REMEDY}"]


def test_only_the_hosts_of_a_label_count(problems_of: Problems) -> None:
    text = pool("vcpus: 4").replace("16GiB}", "16GiB, hosts: [alpha]}")

    assert problems_of(text) == [
        f"6:36: labels.large.vcpus: {NOWHERE} (the most of alpha: 4 vCPUs); {REMEDY}"
    ]


def test_what_a_label_leaves_out_has_to_fit_too(problems_of: Problems) -> None:
    text = pool("memory: 256MiB", "memory: 128MiB").replace(", vcpus: 8, memory: 16GiB", "")

    (problem,) = problems_of(text)

    assert problem == (
        "6:3: labels.large.memory: no host can give a VM 1 vCPU and 512MiB of memory "
        f"(the most of alpha: 256MiB of memory; beta: 128MiB of memory); {REMEDY}"
    )


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("vcpus: 0", "vcpus: 0 is too small; write at least 1"),
        ("vcpu_overcommit: 0", "vcpu_overcommit: 0 is too small; write at least 0.1"),
        ("memory_overcommit: 1e999", "memory_overcommit: inf is too large; write at most 100.0"),
        (
            "vcpu_overcommit: twice",
            "vcpu_overcommit: the text 'twice' where a number belongs; write one, like 2.0",
        ),
        ("drain: yes", "drain: the text 'yes' where true or false belongs; write one, like true"),
        ("drain: 1", "drain: the number 1 where true or false belongs; write one, like true"),
    ],
)
def test_a_wrong_value_is_told_with_what_belongs_there(
    problems_of: Problems, keys: str, problem: str
) -> None:
    (found,) = problems_of(pool(alpha=keys))

    assert found.partition("hosts.alpha.")[2] == problem
