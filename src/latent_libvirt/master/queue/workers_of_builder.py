# SPDX-License-Identifier: GPL-2.0-only
"""The workers of a builder: on which a build could start, and why on no other, or on none.

All of that is looked up once for all requests of the builder: both may be hundreds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from buildbot.process.locks import get_real_locks_from_accesses_raw

from latent_libvirt.master.promised_locks import is_free
from latent_libvirt.master.queue.lock_owners import BusyLocks
from latent_libvirt.pool.reasons import Reason

_NAMED = 3
"""Workers or owners of a lock that are named; of more, only the number is given."""


@dataclass
class WorkersOfBuilder:
    """What is the same for all requests of a builder in one go.

    :param ours: its workers that are the pool's.
    """

    builder: Any
    ours: list[Any]
    _busy_locks: dict[tuple[Any, ...], BusyLocks] = field(default_factory=dict, init=False)

    @cached_property
    def labels(self) -> frozenset[str]:
        """The labels of its workers; an empty one is decided by properties."""
        return frozenset(wfb.worker.fixed_label for wfb in self.ours)

    @cached_property
    def has_one_answer(self) -> bool:
        """Whether all requests want the same."""
        return all(wfb.worker.has_one_answer for wfb in self.ours)

    @cached_property
    def able(self) -> list[Any]:
        """The workers that a build could start on."""
        return [wfb for wfb in self.ours if not _why_unable(wfb)]

    @cached_property
    def is_stuck(self) -> bool:
        """Whether there is a worker for which it is not enough to wait for the end of a build."""
        return any(_why_unable(wfb) not in ("", "busy") for wfb in self.ours)

    @cached_property
    def all_unable(self) -> Reason:
        """Why no build can start on any worker."""
        return _all_unable(self.ours)

    async def busy_locks(self, accesses: Any) -> BusyLocks:
        """Return which locks keep builds that want *accesses* from each worker they could have."""
        key = tuple(accesses)
        if key not in self._busy_locks:
            self._busy_locks[key] = await self._look_at_locks(accesses)
        return self._busy_locks[key]

    async def _look_at_locks(self, accesses: Any) -> BusyLocks:
        busy = []
        for wfb in self.able or self.ours:
            locks = await get_real_locks_from_accesses_raw(
                accesses, None, self.builder, wfb, self.builder.config_version
            )
            busy.append(tuple(lock for lock, access in locks if not is_free(lock, access)))
            if not busy[-1]:
                break
        return BusyLocks(busy)


def _why_unable(wfb: Any) -> str:
    """Return why no build can start on a worker, whatever room there is; empty if one can."""
    worker = wfb.worker
    if worker.isPaused():
        return "paused"
    if worker._graceful:  # noqa: SLF001 - Buildbot has no question for it
        return "stopping"
    if worker.quarantine_timer:
        return "in back-off after a failed start"
    if wfb.isBusy() or not worker.may_start(lambda _label: True):
        return "busy"
    return "" if worker.locksAvailable() else "waiting for a lock that the worker has"


def _all_unable(wfbs: list[Any]) -> Reason:
    names: dict[str, list[str]] = {}
    for wfb in wfbs:
        names.setdefault(_why_unable(wfb), []).append(wfb.worker.name)
    whys = [f"{why}: {some(of_why)}" for why, of_why in sorted(names.items())]
    return Reason("worker", f"none of its workers is free ({'; '.join(whys)})")


def some(names: list[str]) -> str:
    """Return *names* for a sentence, which names a few of many."""
    shown = ", ".join(names[:_NAMED])
    return f"{shown} and {len(names) - _NAMED} more" if len(names) > _NAMED else shown
