# SPDX-License-Identifier: GPL-2.0-only
"""Pools that the workers of a ``master.cfg`` need among its services.

Buildbot takes a file that lacks one, and the first build would fail. Here that is reported while
the configuration is loaded, by one more check among Buildbot's own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from buildbot.config.errors import error
from buildbot.config.master import MasterConfig

_check_builders = MasterConfig.check_builders


def install() -> None:
    """Check every configuration that this process loads from now on."""
    MasterConfig.check_builders = _check


def _check(config: MasterConfig) -> None:
    _check_builders(config)
    pools = [worker.pool_name for worker in config.workers if hasattr(worker, "pool_name")]
    for problem in problems(pools, config.services):
        error(problem)


def problems(pools: Collection[str], services: Collection[str]) -> Iterator[str]:
    """Yield what is missing.

    :param pools: the name of each worker's pool.
    :param services: the names of the master's services.
    """
    for pool in sorted({*pools} - {*services}):
        count = sum(each == pool for each in pools)
        need = "1 worker needs" if count == 1 else f"{count} workers need"
        yield (
            f"c['services'] lacks the pool {pool!r}, which {need}; "
            "write, for example, c['services'] = [pool]"
        )
