# SPDX-License-Identifier: GPL-2.0-only
"""Sets of many hosts, over several blocks, find what sets of numbers would."""

from __future__ import annotations

import random

import pytest

from latent_libvirt.pool.room.host_sets import BLOCK, HostSet, first, masks


@pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 5])
def test_the_first_host_is_found_whatever_block_it_is_in(size: int) -> None:
    chance = random.Random(size)
    everything = range(size)
    for share in (0.02, 0.5, 1.0):
        inside, other, avoid = (
            {host for host in everything if chance.random() < share} for _ in range(3)
        )
        sets = HostSet(size, inside), HostSet(size, other)

        assert [host in sets[0] for host in everything] == [host in inside for host in everything]
        assert first(sets) == min(inside & other, default=None)
        assert first([sets[0]], [sets[1]]) == min(inside - other, default=None)
        assert first([sets[0]], avoid=masks(avoid)) == min(inside - avoid, default=None)


@pytest.mark.parametrize("size", [BLOCK, 2 * BLOCK + 3])
def test_only_blocks_with_a_host_are_looked_at(size: int) -> None:
    hosts = HostSet(size)
    assert (hosts.some, hosts.every) == (0, 0)

    for host in range(size):
        hosts.toggle(host)
    assert hosts.some == hosts.every == (1 << len(hosts.blocks)) - 1
    hosts.toggle(0)

    assert hosts.every == (1 << len(hosts.blocks)) - 2
    assert hosts.some == (1 << len(hosts.blocks)) - 1
    for host in range(1, BLOCK):
        hosts.toggle(host)
    assert hosts.some == (1 << len(hosts.blocks)) - 2
