# SPDX-License-Identifier: GPL-2.0-only
"""How long it takes to find and take a place, or to give one back, by the number of hosts.

Once with slots alone, and once with budgets that are the scarcer, each label of a size of its own.

.venv/bin/python bench/capacity.py
"""

from __future__ import annotations

import itertools
import random
import statistics
import time

from latent_libvirt.config.units import GIB, MIB
from latent_libvirt.pool.room.allocations import Allocation
from latent_libvirt.pool.room.amounts import Size
from latent_libvirt.pool.room.capacity import Capacity
from latent_libvirt.pool.room.caps import Budget, Caps, LabelCap
from latent_libvirt.pool.room.placement import Placement

SLOTS = 20
LABELS = 100
DECISIONS = 20_000
PLACEMENTS: tuple[Placement, ...] = ("spread", "pack")


def caps_of(host_count: int, placement: Placement, *, budgets: bool) -> Caps:
    """Return caps; with *budgets*, about ten of the VMs fit on a host."""
    hosts = tuple(f"host-{number}" for number in range(host_count))
    sizes = [Size(1 + number % 8, GIB + number * 64 * MIB) for number in range(LABELS)]
    return Caps(
        10**9,
        dict.fromkeys(hosts, SLOTS),
        {f"label-{n}": LabelCap(10**9, hosts, size) for n, size in enumerate(sizes)},
        budgets=dict.fromkeys(hosts, Budget(48, 40 * GIB)) if budgets else {},
        placement=placement,
    )


def measure(caps: Caps) -> list[float]:
    """Keep the hosts half full; return the seconds of each change, in order."""
    capacity = Capacity(caps)
    held: list[Allocation] = []
    seconds = []
    enough = len(caps.slots) * (SLOTS // 4 if caps.budgets else SLOTS // 2)
    for number in range(DECISIONS + enough):
        began = time.perf_counter()
        place = capacity.take(f"label-{number % LABELS}")
        took = time.perf_counter()
        if place is not None:
            held.append(place)
        if len(held) < enough:
            continue
        seconds.append(took - began)
        place = held.pop(random.randrange(len(held)))  # noqa: S311
        began = time.perf_counter()
        capacity.give_back(place)
        seconds.append(time.perf_counter() - began)
    return sorted(seconds)


def main() -> None:
    """Print a row for each number of hosts."""
    print(f"{'hosts':>8} {'budgets':>8} {'placement':>10} {'median, us':>12} {'99 %, us':>12}")
    for host_count in (10, 100, 1_000, 10_000):
        for budgets, placement in itertools.product((False, True), PLACEMENTS):
            seconds = measure(caps_of(host_count, placement, budgets=budgets))
            median, high = statistics.median(seconds), seconds[len(seconds) * 99 // 100]
            print(
                f"{host_count:8} {'yes' if budgets else 'no':>8} {placement:>10} "
                f"{median * 1e6:12.1f} {high * 1e6:12.1f}"
            )


if __name__ == "__main__":
    main()
