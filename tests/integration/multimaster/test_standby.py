# SPDX-License-Identifier: GPL-2.0-only
"""A second scheduler master, and what it does when the first one is killed."""

from __future__ import annotations

import shutil

from buildmaster import wait_for
from installation import JOB_API, Installation
from latent_libvirt.jobs.client import Client

PERIODIC = """
c["schedulers"].append(schedulers.Periodic(
    name="every-moment", builderNames=["check"], periodicBuildTimer=3, onlyIfChanged=False,
))
"""

JOB = {"builder": "check", "properties": {"seconds": "1"}}


def test_a_second_scheduler_master_takes_over_and_accepted_jobs_run(
    installation: Installation,
) -> None:
    scheduler, standby = installation.scheduler(), installation.scheduler("standby")
    for master in (scheduler, standby):
        master.add(PERIODIC + JOB_API)
    token = scheduler.make_token()
    shutil.copy(scheduler.directory / "tokens.json", standby.directory)
    installation.start(scheduler, installation.interface("first", workers=1))
    installation.start(standby)
    assert owner(installation) == "scheduler"
    accepted = [scheduler.force(seconds="3") for _ in range(2)]
    posted = Client(scheduler.jobs_url, token).submit(JOB)["uuid"]

    scheduler.kill()
    wait_for("the standby to take over", lambda: owner(installation) == "standby")

    before = count(installation)
    wait_for("its scheduler to work", lambda: count(installation) > before)
    offered = standby.force()
    results = [standby.wait_for_result(job) for job in [*accepted, offered]]
    assert results == ["SUCCESS"] * 3
    jobs = Client(standby.jobs_url, token)
    uuids = [posted, jobs.submit(JOB)["uuid"]]
    wait_for("both jobs", lambda: {jobs.job(uuid)["result"] for uuid in uuids} == {"success"})


def owner(installation: Installation) -> str | None:
    """Return which master has the periodic scheduler."""
    rows = installation.query(
        "SELECT masters.name FROM scheduler_masters JOIN masters ON masters.id = masterid "
        "JOIN schedulers ON schedulers.id = schedulerid WHERE schedulers.name = 'every-moment'"
    )
    return rows[0][0].rpartition("/")[2] if rows else None


def count(installation: Installation) -> int:
    """Return how many buildsets there are."""
    ((number,),) = installation.query("SELECT count(*) FROM buildsets")
    return int(number)
