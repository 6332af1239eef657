# SPDX-License-Identifier: GPL-2.0-only
"""A scheduler master, which has no pool, whose clock is set back while it runs."""

from __future__ import annotations

from pathlib import Path

from buildmaster import wait_for
from installation import Installation
from latent_libvirt.multimaster.failure_detector import FailureTimeouts
from set_clock import BACK, SAID_BACK, SetClock


def test_a_master_whose_clock_is_set_back_is_not_declared_dead(
    installation: Installation, tmp_path: Path
) -> None:
    clock = SetClock(tmp_path / "clock")
    scheduler, first = installation.scheduler(), installation.interface("first")
    scheduler.enter = clock.enter
    installation.start(scheduler, first)

    clock.set(BACK)
    wait_for("the step to be noticed", lambda: SAID_BACK in scheduler.log)
    noticed = now(installation)

    late = noticed + FailureTimeouts().silent
    wait_for("heartbeats for as long as nobody may be silent", lambda: seen(installation) > late)
    assert installation.state(scheduler) == "here"
    job = scheduler.force()
    assert scheduler.wait_for_result(job) == "SUCCESS"
    assert installation.history(job) == [("first", "SUCCESS")]
    scheduler.kill()
    clock.forget(scheduler.pid)


def now(installation: Installation) -> float:
    """Return the time of the database, which nobody sets."""
    ((seconds,),) = installation.query("SELECT extract(epoch FROM clock_timestamp())")
    return float(seconds)


def seen(installation: Installation) -> float:
    """Return when the scheduler master has last written its heartbeat, by the same clock."""
    ((seconds,),) = installation.query(
        "SELECT seen FROM latent_libvirt_masters JOIN masters ON masters.id = masterid "
        "WHERE name LIKE '%/scheduler'"
    )
    return float(seconds)
