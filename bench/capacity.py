# SPDX-License-Identifier: GPL-2.0-only
"""How long it takes to find and take a place, by the number of hosts.

.venv/bin/python bench/capacity.py
"""

from __future__ import annotations

import random
import statistics
import time

from latent_libvirt.capacity import Caps, LabelCap, Ledger, Place

SLOTS = 20
LABELS = 100
DECISIONS = 20_000


def measure(host_count: int) -> list[float]:
    """Take and give back places with about half of all slots taken; return seconds per decision."""
    hosts = tuple(f"host-{number}" for number in range(host_count))
    labels = {f"label-{number}": LabelCap(10**9, hosts) for number in range(LABELS)}
    ledger = Ledger(Caps(10**9, dict.fromkeys(hosts, SLOTS), labels))
    held: list[Place] = []
    seconds = []
    for number in range(DECISIONS):
        began = time.perf_counter()
        place = ledger.take(f"label-{number % LABELS}")
        seconds.append(time.perf_counter() - began)
        if place is not None:
            held.append(place)
        if len(held) > host_count * SLOTS // 2:
            ledger.give_back(held.pop(random.randrange(len(held))))  # noqa: S311
    return sorted(seconds)


def main() -> None:
    """Print a row for each number of hosts."""
    print(f"{'hosts':>8} {'median, us':>12} {'99 %, us':>12}")
    for host_count in (10, 100, 1_000, 10_000):
        seconds = measure(host_count)
        median, high = statistics.median(seconds), seconds[len(seconds) * 99 // 100]
        print(f"{host_count:8} {median * 1e6:12.1f} {high * 1e6:12.1f}")


if __name__ == "__main__":
    main()
