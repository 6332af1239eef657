# SPDX-License-Identifier: GPL-2.0-only
"""Counts of VMs and names of workers that Buildbot or the label itself cannot have."""

from __future__ import annotations

from collections.abc import Callable

Problems = Callable[[str | bytes], list[str]]


def test_worker_names_that_buildbots_database_cannot_hold_are_refused(
    good: str, problems_of: Problems
) -> None:
    longest = good.replace("  max_vms: 4", f"  max_vms: 4\n  name: {'m' * 38}")
    assert problems_of(longest) == []
    assert problems_of(longest.replace("m" * 38, "m" * 39)) == [
        (
            f"18:3: labels.debian-12: a worker would be called '{'m' * 39}-debian-12-4', of 51 "
            "characters; shorten the label's or the master's name: Buildbot takes 50"
        )
    ]
