# SPDX-License-Identifier: GPL-2.0-only
"""Early locks: a worker takes its locks as soon as a build has started on it.

Buildbot asks for them some queries of the database later. Another worker that shares them would
have been given a build, and room for it, in the meantime.
"""

from __future__ import annotations

from typing import Any

from buildbot.worker.latent import AbstractLatentWorker


class EarlyLocks(AbstractLatentWorker):
    """A latent worker that takes its locks once, and early."""

    def checkConfig(self, *args: Any, **kwargs: Any) -> None:
        """Take the arguments of the constructor."""
        super().checkConfig(*args, **kwargs)
        self._held_locks: list[tuple[Any, Any]] = []

    def acquireLocks(self) -> bool:  # noqa: N802 - Buildbot's
        """Take the worker's own locks, unless it has them."""
        if self._held_locks:
            return True
        if not super().acquireLocks():
            return False
        self._held_locks = list(self.locks or ())
        return True

    def releaseLocks(self) -> None:  # noqa: N802
        """Give back what was taken, unless a build goes on.

        Buildbot asks for that whenever a connection is lost, even one that a start has given up. A
        reconfig may have replaced the worker's locks since they were taken.
        """
        if any(wfb.isBusy() for wfb in self.workerforbuilders.values()):
            return
        held, self._held_locks = self._held_locks, []
        for lock, access in held:
            lock.release(self, access)
