# SPDX-License-Identifier: GPL-2.0-only
"""A sampler of what libvirt counts, which knows nothing of pools."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import libvirt

from lab import Lab


@contextmanager
def sampling(lab: Lab) -> Iterator[dict[str, float]]:
    """Sample the processor time of each domain, by its UUID and id, until it is gone."""
    seen: dict[str, float] = {}
    stop = threading.Event()

    def sample() -> None:
        with lab.connection() as connection:
            while not stop.wait(0.05):
                with suppress(libvirt.libvirtError):
                    for domain, stats in connection.getAllDomainStats(0, 0):
                        if domain.ID() >= 0:  # else it has ended since it was asked
                            seen[f"{domain.UUIDString()}/{domain.ID()}"] = _cpu_seconds(stats)

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    try:
        yield seen
    finally:
        stop.set()
        sampler.join()


def _cpu_seconds(stats: dict[str, Any]) -> float:
    vcpus = (stats.get(f"vcpu.{n}.time", 0) for n in range(stats.get("vcpu.maximum", 0)))
    return int(stats.get("cpu.time", sum(vcpus))) / 1e9
