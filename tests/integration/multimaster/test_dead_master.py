# SPDX-License-Identifier: GPL-2.0-only
"""An interface master that is killed, or frozen, and what the others make of it."""

from __future__ import annotations

import time

from buildmaster import wait_for
from installation import Installation, Master
from latent_libvirt.multimaster import process_exit

WITHIN = 120.0
"""Seconds from a master's end until all its jobs have begun elsewhere: far less than Buildbot's
ten minutes, far more than it takes (docs/explanation/several-masters.md)."""


def test_jobs_of_a_killed_master_run_on_another_one(installation: Installation) -> None:
    scheduler = installation.scheduler()
    first, second = both(installation)
    installation.start(scheduler, first)
    jobs = [scheduler.force() for _ in range(2)]
    for job in jobs:
        scheduler.wait_for_build(job)
    installation.start(second)

    first.kill()
    killed = time.monotonic()

    for job in jobs:
        scheduler.wait_for_build(job, number=2)
    assert time.monotonic() - killed < WITHIN
    installation.go_on()
    assert [scheduler.wait_for_result(job) for job in jobs] == ["SUCCESS"] * 2
    for job in jobs:
        assert installation.history(job) == [("first", "RETRY"), ("second", "SUCCESS")]
    assert installation.connected_workers() == ["second-0", "second-1"]


def test_a_master_that_was_frozen_finds_itself_dead_and_writes_nothing(
    installation: Installation,
) -> None:
    scheduler = installation.scheduler()
    first, second = both(installation)
    installation.start(scheduler, first)
    job = scheduler.force()
    scheduler.wait_for_build(job)
    installation.start(second)

    first.freeze()
    scheduler.wait_for_build(job, number=2)
    installation.go_on()  # the frozen master's command ends, too
    assert scheduler.wait_for_result(job) == "SUCCESS"
    first.thaw()

    assert first.wait() == process_exit.STATUS
    assert installation.history(job) == [("first", "RETRY"), ("second", "SUCCESS")]
    assert "has declared this one dead" in first.log
    first.start()
    wait_for("it to be on the roll again", lambda: installation.state(first) == "here")


def both(installation: Installation) -> tuple[Master, Master]:
    """Make two interface masters whose builds run until the test says so."""
    steps = installation.until_told
    return (
        installation.interface("first", steps=steps),
        installation.interface("second", steps=steps),
    )
