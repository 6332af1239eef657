# SPDX-License-Identifier: GPL-2.0-only
"""Configuration that a pool follows, when it was loaded, and what its file has instead."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from twisted.logger import Logger

from latent_libvirt.config.difference import differences

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.config.problems import InvalidConfiguration

log = Logger()


class LoadedConfig:
    """The configuration of one pool.

    :param pool: the pool's name.
    :ivar current: what the pool follows.
    :ivar refusal: why what was saved last is not followed, or ``None`` if it is.
    :ivar generation: how many configurations were followed, equal ones included.
    :ivar loaded_at: seconds since the epoch.
    :ivar changed: what the last change has changed, a line each.
    :ivar changed_at: seconds since the epoch.
    """

    def __init__(self, pool: str, config: PoolConfig) -> None:
        self._pool = pool
        self.current = config
        self.refusal: InvalidConfiguration | None = None
        self.generation = 0
        self.loaded_at = 0.0
        self.changed: tuple[str, ...] = ()
        self.changed_at = 0.0

    def follow(self, config: PoolConfig) -> None:
        """Note that the pool follows *config* from now on."""
        changed = differences(self.current, config)
        for line in changed:
            log.info("pool {pool}: {line}", pool=self._pool, line=line)
        self.current = config
        self.generation += 1
        self.loaded_at = time.time()
        if changed:
            self.changed, self.changed_at = changed, self.loaded_at

    def accept(self, config: PoolConfig) -> bool:
        """Note that *config*, which was saved, is valid; return whether it is another one."""
        if self.refusal is not None:
            log.info("pool {pool}: what was saved is good again", pool=self._pool)
        self.refusal = None
        self.loaded_at = time.time()
        return config != self.current

    def refuse(self, error: InvalidConfiguration) -> None:
        """Note that what was saved is not followed."""
        self.refusal = error
        log.error(
            "pool {pool}: what was saved is refused, the old configuration stays:\n{error}",
            pool=self._pool,
            error=str(error),
        )
