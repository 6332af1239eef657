# SPDX-License-Identifier: GPL-2.0-only
"""The pool's work on the reactor with many hosts, slots, labels and saved states, in instructions.

A million of them take some 10 ms. The hosts are on paper.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from latent_libvirt.config import PoolConfig
from latent_libvirt.host.domains.domain_xml import VmRecord
from latent_libvirt.host.domains.vm_spec import vm_spec
from latent_libvirt.host.names import OwnedVolume
from latent_libvirt.host.states.saved_states import SavedState
from latent_libvirt.pool import report
from paper_pool import OWNER, PaperPool, config_of
from work import instructions

HOSTS = 250
SLOTS = 40
LABELS = 100
SAVED = 20
"""States of each host, which fill its space."""

SIZE = 2**30


@pytest.fixture(scope="module")
def pool() -> PaperPool:
    """Give a pool that has looked at all of its hosts."""
    labels: dict[str, dict[str, object]] = {
        f"label-{number}": {"memory": f"{512 + number}MiB"} for number in range(LABELS)
    }
    hosts = tuple(f"host-{number}" for number in range(HOSTS))
    config = config_of(hosts=hosts, slots=SLOTS, max_vms=HOSTS * SLOTS, **labels)
    pool = PaperPool(config)
    for number, host in enumerate(pool.paper_hosts.values()):
        for state in _states(config, number):
            host.saved.states.add(state)
    for number in range(HOSTS * SLOTS // 2):
        allocation = pool.capacity.take(f"label-{number % LABELS}")
        assert allocation is not None
        pool.capacity.note_started(allocation)
    pool.hosts_changed()
    pool.tidy()
    for _ in pool.state_saver.tidy():
        pass
    assert not list(pool.state_saver)
    return pool


def _states(config: PoolConfig, host: int) -> Iterator[SavedState]:
    for number in range(SAVED):
        label, vm_id = f"label-{(host + number) % LABELS}", f"{host * SAVED + number:x}"
        record = VmRecord(
            OWNER.id, "master", "pool", vm_id, label, "", "newest", "now",
            spec_hash=vm_spec(config, label).hash,
        )  # fmt: skip
        name = OwnedVolume(OWNER.id, number + 1, vm_id, "0" * 24)
        yield SavedState(name, record, "<domain/>", "/path", SIZE)


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
