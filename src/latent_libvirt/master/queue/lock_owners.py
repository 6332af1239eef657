# SPDX-License-Identifier: GPL-2.0-only
"""Owners of a lock: builds that have it, or a step of theirs has, or that it is promised to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from latent_libvirt.master.promised_locks import promises


def owners_among(builds: Iterable[Any], lock: Any) -> list[Any]:
    """Return those of *builds* that have *lock*, or are to have it."""
    owners, promised = _owners(lock)
    return [build for build in builds if owners & _parts(build) or build in promised]


def belongs_to(build: Any, lock: Any) -> bool:
    """Whether *build* has *lock*, or is to have it, and nobody else is."""
    owners, promised = _owners(lock)
    return bool(owners or promised) and owners <= _parts(build) and promised <= {build}


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
