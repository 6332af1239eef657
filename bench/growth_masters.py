# SPDX-License-Identifier: GPL-2.0-only
"""Rows of ``growth.py`` about masters: their hosts, the VMs that there might be, and their jobs."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import first_output
import many_hosts
import many_workers
import statements

HOSTS = 250
JOBS = 5
POSSIBLE = {"200": 2, "10000": 100, "50000": 500, "200000": None}
"""VMs that a label may have, by how many there might be in all; ``None`` for no cap."""

SLICE = 5.0
"""Seconds between two looks at all hosts."""


def measure_reactor() -> dict[str, float]:
    """Return the CPU time of a look at all hosts where nothing changes, with few and with many."""
    few, many = (_look_ms(many_hosts.with_hosts(count)) for count in (HOSTS // 10, HOSTS))
    ratio = many[0] / few[0]
    return {"few_ms": few[0], "many_ms": many[0], "at_once_ms": many[1], "ratio": ratio}


def _look_ms(pool: many_hosts.PaperPool) -> tuple[float, float]:
    """Return what all of a look takes, and its longest step; then each host ends a sweep."""
    steps = [*_timed(pool.spares.tidy()), *_timed(pool.state_saver.tidy())]
    sweeps = len(pool.paper_hosts) * SLICE / 60
    changed = statistics.median(_spent(pool._context().changed) for _ in range(9))  # noqa: SLF001
    return 1000 * (sum(steps) + sweeps * changed), 1000 * max(*steps, changed)


def _timed(work: Iterator[None]) -> Iterator[float]:
    done: list[bool] = []
    while not done:
        yield _spent(lambda: done.append(True) if next(work, "end") == "end" else None)


def _spent(do: Callable[[], object]) -> float:
    began = time.thread_time()
    do()
    return time.thread_time() - began


def measure_statements(directory: Path) -> dict[str, float]:
    """Count the statements of trivial jobs."""
    return {"per_job": statements.of_jobs(directory, JOBS).total() / JOBS}


def measure_first_output(rounds: int) -> dict[str, float]:
    """Time jobs from the request to the first output, and without prompt tries in turn.

    The databases are in memory: other programs keep a disk busy, and a job has fifty commits.
    """
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/dev/shm") as directory:
        masters = {"buildbots": first_output.WITHOUT, "prompt": ""}
        took = first_output.measure(Path(directory), masters, rounds)
    found = {f"{name}_s": statistics.median(seconds) for name, seconds in took.items()}
    return found | {"ratio": found["prompt_s"] / found["buildbots_s"]}


def measure_possible_vms(directory: Path) -> dict[str, float]:
    """Start masters whose labels may have few VMs or many, with the same hosts and labels."""
    found = {}
    for row, most in POSSIBLE.items():
        start = many_workers.measure(directory / row, most)
        found |= {f"{row}_s": start.seconds, f"{row}_cpu_s": start.cpu, f"{row}_mib": start.rss}
    few = found["200_s"]
    return found | {f"{row}_ratio": found[f"{row}_s"] / few for row in POSSIBLE if row != "200"}
