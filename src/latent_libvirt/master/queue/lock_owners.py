# SPDX-License-Identifier: GPL-2.0-only
"""Owners of a lock: builds that have it, or a step of theirs has, or that it is promised to."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

from latent_libvirt.master.promised_locks import promises


class BusyLocks:
    """The locks that keep builds of a builder from starting, whatever worker they get.

    Who owns each of them is looked up once, for all builds that are asked about.

    :param of_workers: those of each worker; if one has none, no lock is in the way.
    """

    def __init__(self, of_workers: Iterable[tuple[Any, ...]]) -> None:
        distinct = tuple(dict.fromkeys(of_workers))
        self._of_workers = distinct if all(distinct) else ()
        self._owners = {lock: _owners(lock) for lock in chain.from_iterable(self._of_workers)}

    @property
    def of_first(self) -> tuple[Any, ...]:
        """Those of the first worker, which stand for all."""
        return next(iter(self._of_workers), ())

    def of_only(self, build: Any) -> Any:
        """Return one that *build* alone has, or is to have, if there is one for each worker."""
        parts = _parts(build)

        def is_its(lock: Any) -> bool:
            owners, promised = self._owners[lock]
            return bool(owners or promised) and owners <= parts and promised <= {build}

        first = None
        for locks in self._of_workers:
            own = next(filter(is_its, locks), None)
            if own is None:
                return None
            first = first or own
        return first


def owners_among(builds: Iterable[Any], lock: Any) -> list[Any]:
    """Return those of *builds* that have *lock*, or are to have it."""
    owners, promised = _owners(lock)
    return [build for build in builds if owners & _parts(build) or build in promised]


def may_hold_locks(build: Any) -> bool:
    """Whether *build*, or the step that it is at, has locks or waits for some."""
    parts = (build, getattr(build, "currentStep", None))
    return any(getattr(part, "_locks_to_acquire", ()) for part in parts)


def _owners(lock: Any) -> tuple[set[int], set[Any]]:
    """Return the ids of the objects that have *lock*, and the builds that it is promised to."""
    return {owner for owner, _access in lock.owners}, {build for build, _ in promises(lock)}


def _parts(build: Any) -> set[int]:
    """Return the ids of the objects that own the locks of a build: itself and its steps."""
    steps = [*getattr(build, "executedSteps", ()), getattr(build, "currentStep", None)]
    return {id(each) for each in (build, *steps) if each is not None}
