# SPDX-License-Identifier: GPL-2.0-only
"""Locks that are promised: those of builds that have started and wait for their worker.

Buildbot 4.3 looks whether a build could get its locks, and claims them when the worker is there.
With a worker that is always there, that is a moment later. One of ours gets a VM first, so that all
waiting requests of a builder with an exclusive lock would be given VMs, of which all but one then
wait for the lock. Here a lock is taken for held from the start of a build on.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import wraps
from typing import Any, Final
from weakref import WeakKeyDictionary

from buildbot.process.build import Build
from buildbot.process.builder import Builder
from buildbot.process.workerforbuilder import AbstractWorkerForBuilder
from twisted.logger import Logger

from latent_libvirt.upstream import relied_on

log = Logger()

RELIED_ON: Final = (
    (Builder, "_can_acquire_locks"),
    (Builder, "canStartBuild"),
    (Build, "acquireLocks"),
    (AbstractWorkerForBuilder, "buildStarted"),
)

Locks = list[tuple[Any, Any]]
"""Real locks, with the access to each."""

_promised: WeakKeyDictionary[Any, Locks] = WeakKeyDictionary()
"""By the build that is to have them."""

_asked: WeakKeyDictionary[Any, Locks] = WeakKeyDictionary()
"""What the request that was asked about last wants, by its builder."""


def install() -> None:
    """Wrap what looks for locks in this process, once."""
    if relied_on.are_there(
        RELIED_ON, does="takes locks", otherwise="builds may wait for a lock that have a VM already"
    ) and not getattr(Builder, "_latent_libvirt_locks", False):
        Builder._latent_libvirt_locks = True  # noqa: SLF001 - ours
        _wrap_questions()
        _wrap_start()


def _wrap_questions() -> None:
    may_start, may_acquire = Builder.canStartBuild, Builder._can_acquire_locks  # noqa: SLF001

    @wraps(may_start)
    def can_start_build(self: Any, wfb: Any, request: Any) -> Any:
        _asked.pop(self, None)
        return may_start(self, wfb, request)

    @wraps(may_acquire)
    def can_acquire_locks(self: Any, locks: Locks) -> bool:
        _asked[self] = locks
        return bool(may_acquire(self, locks)) and all(is_free(*each) for each in locks)

    Builder.canStartBuild = can_start_build
    Builder._can_acquire_locks = can_acquire_locks  # noqa: SLF001


def _wrap_start() -> None:
    original = AbstractWorkerForBuilder.buildStarted

    @wraps(original)
    def build_started(self: Any) -> None:
        original(self)
        locks = _asked.pop(self.builder, None)
        if locks and self.builder.building:
            _promised[self.builder.building[-1]] = locks

    AbstractWorkerForBuilder.buildStarted = build_started


def is_free(lock: Any, access: Any) -> bool:
    """Whether a build could have *lock* once others have what they are promised."""
    promised = [other for _build, other in promises(lock)]
    if not access.count or not promised:
        return bool(lock.isAvailable(None, access))
    if "exclusive" in {access.mode, *(other.mode for other in promised)}:
        return False
    counted = [other for _owner, other in lock.owners] + promised + [access]
    taken = sum(other.count for other in counted) + len(lock.waiting)
    return bool(lock.isAvailable(None, access)) and taken <= lock.maxCount


def promises(lock: Any) -> Iterator[tuple[Any, Any]]:
    """Return the builds that *lock* is promised to, with the access of each."""
    for build, locks in tuple(_promised.items()):
        if _is_over(build):
            del _promised[build]
            continue
        yield from ((build, access) for each, access in locks if each is lock and access.count)


def _is_over(build: Any) -> bool:
    """Whether a build has ended, has its locks, or stands in line for them."""
    if build.finished or build not in build.builder.building:
        return True
    has_some = any(lock.isOwner(build, access) for lock, access in build._locks_to_acquire)  # noqa: SLF001
    return has_some or build._acquiringLock is not None  # noqa: SLF001
