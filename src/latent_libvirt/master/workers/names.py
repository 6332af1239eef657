# SPDX-License-Identifier: GPL-2.0-only
"""The worker names of a ``master.cfg``, seen together: each is one worker's.

Buildbot looks for that when it starts the workers, and ends in a traceback. Here it is reported
while the configuration is loaded, by one more check at the end of Buildbot's own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from buildbot.config.errors import error
from buildbot.config.master import MasterConfig

_MOST_SHOWN = 5

_check_machines = MasterConfig.check_machines


def install() -> None:
    """Check every configuration that this process loads from now on."""
    MasterConfig.check_machines = _check


def _check(config: MasterConfig) -> None:
    _check_machines(config)
    for problem in problems(config.workers):
        error(problem)


def problems(workers: list[Any]) -> Iterator[str]:
    """Yield the names that differ in case at most: to some databases and file systems they are one.

    Workers that are none of a pool's are Buildbot's affair, unless they have the name of one.
    """
    if len({worker.workername.lower() for worker in workers}) == len(workers):
        return  # as nearly always, and there may be many
    by_name: dict[str, list[Any]] = defaultdict(list)
    for worker in workers:
        by_name[worker.workername.lower()].append(worker)
    names: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for same in by_name.values():
        if len(same) > 1 and any(_pool_of(worker) for worker in same):
            names[tuple(_described(worker) for worker in same)].append(same[0].workername)
    for who, taken in names.items():
        yield _taken_twice(who, taken)


def _taken_twice(who: tuple[str, ...], names: list[str]) -> str:
    shown = ", ".join(names[:_MOST_SHOWN])
    more = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    if len(set(who)) == 1:
        told = f"the workers of {who[0]} are listed twice in c['workers']: {shown}{more}"
        return f"{told}; list them once"
    told = f"workers have the same names: {shown}{more} are of {' and of '.join(who)}"
    return f"{told}; rename one, or give the pools different names under `master: {{name: ...}}`"


def _pool_of(worker: Any) -> str:
    """Return the name of a worker's pool; nothing if it is of another kind."""
    return str(getattr(worker, "pool_name", ""))


def _described(worker: Any) -> str:
    pool = _pool_of(worker)
    if not pool:
        return f"a {type(worker).__name__} ({worker.workername})"
    label = worker.fixed_label
    return f"label {label!r} of pool {pool!r}" if label else f"pool {pool!r}"
