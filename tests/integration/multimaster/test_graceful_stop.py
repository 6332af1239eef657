# SPDX-License-Identifier: GPL-2.0-only
"""A master that its supervisor stops: its jobs are done, by it or by another master."""

from __future__ import annotations

import signal

from buildmaster import wait_for
from installation import Installation


def test_a_master_that_is_told_to_stop_claims_nothing_and_lets_its_builds_finish(
    installation: Installation,
) -> None:
    scheduler = installation.scheduler()
    first = installation.interface("first", steps=installation.until_told)
    installation.start(scheduler, first)
    running = scheduler.force()
    scheduler.wait_for_build(running)

    first.signal(signal.SIGTERM)
    wait_for("it to have heard", lambda: "stopping: nothing new" in first.log)
    later = scheduler.force()
    installation.go_on()
    assert first.wait() == 0

    assert installation.history(running) == [("first", "SUCCESS")]
    assert installation.history(later) == []
    assert installation.state(first) == "away"
    assert installation.connected_workers() == []
    installation.start(installation.interface("second"))
    assert scheduler.wait_for_result(later) == "SUCCESS"
    assert installation.history(later) == [("second", "SUCCESS")]


def test_builds_that_do_not_finish_in_time_are_handed_to_another_master(
    installation: Installation,
) -> None:
    installation.settings = "stop_within=2"
    scheduler = installation.scheduler()
    first = installation.interface("first", steps=installation.until_told)
    installation.start(scheduler, first)
    jobs = [scheduler.force() for _ in range(3)]  # one more than it has workers
    for job in jobs[:2]:
        scheduler.wait_for_build(job)
    steps = installation.until_told
    installation.start(installation.interface("second", workers=3, steps=steps))
    scheduler.wait_for_build(jobs[2])

    first.signal(signal.SIGTERM)

    assert first.wait() == 0
    installation.go_on()
    for job in jobs[:2]:
        assert scheduler.wait_for_result(job) == "SUCCESS"
        assert installation.history(job) == [("first", "RETRY"), ("second", "SUCCESS")]
    assert installation.history(jobs[2]) == [("second", "SUCCESS")]
