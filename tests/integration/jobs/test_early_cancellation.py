# SPDX-License-Identifier: GPL-2.0-only
"""A job that is cancelled after its claim and before its build: it ends, and frees its worker.

The master has a job API and no pool. A wrapper in its master.cfg holds up the beginning of builds,
since nothing else makes that moment long.
"""

from __future__ import annotations

from pathlib import Path

from buildmaster import wait_for
from job_masters import JobMaster

BEGINS_LATE = """
from functools import wraps
from buildbot.db.builds import BuildsConnectorComponent as Builds
from twisted.internet import defer, reactor, task

add_build = Builds.addBuild

async def later(*arguments, **more):
    while not os.path.exists("begin"):
        await task.deferLater(reactor, 0.05, lambda: None)
    return await add_build(*arguments, **more)

@wraps(add_build)
def add_build_later(*arguments, **more):
    return defer.Deferred.fromCoroutine(later(*arguments, **more))

Builds.addBuild = add_build_later
"""


def test_a_job_that_is_cancelled_before_its_build_has_begun_ends(tmp_path: Path) -> None:
    master = JobMaster(tmp_path / "master", more=BEGINS_LATE)
    master.start()
    try:
        job = master.post(builder="slow").document
        request = job["build_request"]
        wait_for("its claim", lambda: master.get(f"buildrequests/{request}")[0]["claimed"])

        assert master.delete(job["uuid"]).status == 202
        (tmp_path / "master/begin").touch()

        assert master.finished(job["uuid"])["result"] == "cancelled"
        assert master.get("builds?complete=false") == []
    finally:
        master.stop()
