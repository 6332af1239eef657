# SPDX-License-Identifier: GPL-2.0-only
"""An interface master that is killed, or frozen, and what the others make of it."""

from __future__ import annotations

import time

from buildmaster import wait_for
from installation import Installation
from latent_libvirt.multimaster import process_exit

LONG = "30"
"""Seconds that a job takes: longer than it takes a master to start, on a busy machine too."""

WITHIN = 120.0
"""Seconds from a master's end until all its jobs have begun elsewhere: far less than Buildbot's
ten minutes, far more than it takes (docs/explanation/several-masters.md)."""


def test_jobs_of_a_killed_master_run_on_another_one(installation: Installation) -> None:
    scheduler = installation.scheduler()
    first = installation.interface("first")
    installation.start(scheduler, first)
    jobs = [scheduler.force(seconds=LONG) for _ in range(2)]
    for job in jobs:
        scheduler.wait_for_build(job)
    installation.start(installation.interface("second"))

    first.kill()
    killed = time.monotonic()

    for job in jobs:
        scheduler.wait_for_build(job, number=2)
    assert time.monotonic() - killed < WITHIN
    assert [scheduler.wait_for_result(job) for job in jobs] == ["SUCCESS"] * 2
    for job in jobs:
        assert installation.history(job) == [("first", "RETRY"), ("second", "SUCCESS")]
    assert installation.connected_workers() == ["second-0", "second-1"]


def test_a_master_that_was_frozen_finds_itself_dead_and_writes_nothing(
    installation: Installation,
) -> None:
    scheduler = installation.scheduler()
    first = installation.interface("first")
    installation.start(scheduler, first)
    job = scheduler.force(seconds=LONG)
    scheduler.wait_for_build(job)
    installation.start(installation.interface("second"))

    first.freeze()  # its command goes on, and is over before the master wakes up
    scheduler.wait_for_build(job, number=2)
    assert scheduler.wait_for_result(job) == "SUCCESS"
    first.thaw()

    assert first.wait() == process_exit.STATUS
    assert installation.history(job) == [("first", "RETRY"), ("second", "SUCCESS")]
    assert "has declared this one dead" in first.log
    first.start()
    wait_for("it to be on the roll again", lambda: installation.state(first) == "here")
