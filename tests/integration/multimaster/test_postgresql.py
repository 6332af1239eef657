# SPDX-License-Identifier: GPL-2.0-only
"""A database that is restarted, killed, and away for a while, under builds that write to it."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from buildmaster import wait_for
from installation import COUNT, LINES, Installation, Master

AWAY = 20.0
"""Seconds."""


def says(master: Master, build: dict[str, Any]) -> bool:
    """Tell whether a build has said anything yet."""
    return "line 1" in master.logs(build)


def test_a_database_that_is_away_costs_no_build_and_no_line_of_a_log(
    installation: Installation,
) -> None:
    scheduler, first = installation.scheduler(), installation.interface("first", steps=COUNT)
    second = installation.interface("second", steps=COUNT)
    installation.start(scheduler, first, second)
    jobs = [scheduler.force() for _ in range(4)]
    for job in jobs:
        build = scheduler.wait_for_build(job)
        wait_for("it to say something", partial(says, scheduler, build))

    installation.postgresql.restart()
    installation.postgresql.kill()
    time.sleep(AWAY)  # this long it is not there: the fault itself
    installation.postgresql.start()

    results = [scheduler.wait_for_result(job) for job in jobs]
    assert results == ["SUCCESS"] * 4
    for job in jobs:
        (build,) = scheduler.builds(job)
        lines = [line for line in scheduler.logs(build).splitlines() if line.startswith("line ")]
        assert lines == [f"line {number}" for number in range(1, LINES + 1)]
    assert [master.status() for master in installation.masters] == [None] * 3
    assert "fatal OperationalError" not in first.log + second.log
    wait_for("all to be on the roll", lambda: installation.state(first) == "here")
