# SPDX-License-Identifier: GPL-2.0-only
"""The pool's work on the reactor with many hosts, slots, labels and saved states, in instructions.

A million of them take some 10 ms. The hosts are on paper.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import many_hosts
from latent_libvirt.pool import report
from paper_pool import PaperPool
from work import instructions

HOSTS = 250


@pytest.fixture(scope="module")
def pool() -> PaperPool:
    return many_hosts.with_hosts(HOSTS)


def test_nothing_that_has_changed_costs_next_to_nothing_when_the_pool_is_tidied(
    pool: PaperPool,
) -> None:
    steps = [*_steps(pool.spares.tidy()), *_steps(pool.state_saver.tidy())]

    assert sum(steps) < HOSTS * 400, "with all hosts, every five seconds"
    assert max(steps) < 25_000, "at once"


def test_a_sweep_that_finds_nothing_new_looks_at_each_host_in_a_moment(pool: PaperPool) -> None:
    changed, wakes = pool._context().changed, pool.wakes

    assert instructions(changed) < HOSTS * 300
    assert pool.wakes == wakes


def test_a_sweep_that_finds_a_host_unusable_or_back_wakes_builders(pool: PaperPool) -> None:
    host, wakes = pool.paper_hosts["host-7"], pool.wakes

    for usable in (False, True):
        host.usable = usable
        pool._context().changed()

    assert pool.wakes == wakes + 2


def test_a_look_at_hosts_makes_no_list_of_what_is_saved_again(pool: PaperPool) -> None:
    def look() -> None:
        report.hosts(pool.config, pool.capacity, pool.hosts)

    look()

    assert instructions(look) < HOSTS * 1_000


def _steps(work: Iterator[None]) -> Iterator[int]:
    """Yield what each step of *work* takes."""
    done: list[bool] = []
    while not done:
        yield instructions(lambda: done.append(True) if next(work, "end") == "end" else None)
