# SPDX-License-Identifier: GPL-2.0-only
"""Which builders to try when room has appeared: those that have a worker which could start now.

Each try makes Buildbot ask its database for the builder's waiting requests, so builders that can
start nothing are left alone. When to try is decided in ``housekeeping.py``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Protocol


class Answers(Protocol):
    """The desk of a pool, as far as it matters here."""

    def may_have_room(self, label: str) -> bool:
        """Whether it is worth asking for room for a VM of *label*."""


def builders(desk: Answers, pool: str, all_builders: Mapping[str, Any]) -> list[str]:
    """Return the names, sorted, of the builders that may start a build in a VM of *pool*."""
    may_have_room = functools.cache(desk.may_have_room)
    return sorted(
        name
        for name, builder in all_builders.items()
        if any(
            getattr(wfb.worker, "pool_name", None) == pool and wfb.worker.may_start(may_have_room)
            for wfb in builder.workers
        )
    )
