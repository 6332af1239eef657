# SPDX-License-Identifier: GPL-2.0-only
"""Builds that Buildbot cannot start: they end, and hold up nothing."""

from __future__ import annotations

import pytest

from buildmaster import BuildMaster, wait_for
from faulty_builds import FAULTS, FAULTY
from pools import MakeMaster

FORCE = """
BuildmasterConfig["schedulers"] = [
    schedulers.ForceScheduler(
        name="force",
        builderNames=["check"],
        properties=[
            util.StringParameter(name="label", default="debian-12"),
            util.StringParameter(name="fault", default=""),
        ],
    )
]
"""


@pytest.fixture
def master(make_ready_master: MakeMaster) -> BuildMaster:
    """Give a master with one VM at a time, whose builds fail to start as their property says."""
    return make_ready_master(FAULTY, more=FORCE)


def claimed(master: BuildMaster, request: int) -> bool:
    (found,) = master.get(f"buildrequests/{request}")
    return bool(found["claimed"]) and not found["complete"]


def reason(master: BuildMaster, request: int) -> str:
    (build,) = master.builds(request)
    return f"{build['state_string']}\n{master.logs(build)}"


def test_a_build_that_cannot_be_started_ends_with_its_reason_and_frees_worker_and_room(
    master: BuildMaster,
) -> None:
    requests = {fault: master.force(fault=fault) for fault in FAULTS}
    good = master.force()

    results = {fault: master.wait_for_result(request) for fault, request in requests.items()}
    assert results == dict.fromkeys(FAULTS, "EXCEPTION")
    assert master.wait_for_result(good) == "SUCCESS"
    assert "the factory is broken" in reason(master, requests["factory"])
    for fault in FAULTS:
        assert "Traceback" not in reason(master, requests[fault]) or fault == "steps"

    master.stop()  # which waits for builds that have not ended
    master.start()
    wait_for("the pool to serve", lambda: master.wait_for_result(master.force()) == "SUCCESS")
    assert all(len(master.builds(request)) == 1 for request in requests.values())


LOCKS = """
@util.renderer
def locks(properties):
    if properties.getProperty("fault"):
        raise RuntimeError("no such lock")
    return []

for builder in BuildmasterConfig["builders"]:
    builder.locks = locks
"""


def test_a_renderer_that_raises_while_requests_are_chosen_holds_up_no_other_request(
    make_ready_master: MakeMaster,
) -> None:
    master = make_ready_master(FAULTY, more=FORCE + LOCKS)

    bad = master.force(fault="of the locks")
    good = master.force()

    assert master.wait_for_result(good) == "SUCCESS"
    assert master.builds(bad) == []
    assert not claimed(master, bad)
    assert "no such lock" in master.log


def test_a_job_that_is_cancelled_just_before_its_build_starts_ends(
    make_ready_master: MakeMaster,
) -> None:
    master = make_ready_master(FAULTY, more=FORCE + CANCELLING)

    cancelled = master.force(fault="cancelled")

    assert master.wait_for_result(cancelled) == "CANCELLED"
    assert master.wait_for_result(master.force()) == "SUCCESS"


CANCELLING = """
class Cancelling(Faulty):
    def newBuild(self, requests, builder):
        if requests[0].properties.getProperty("fault") == "cancelled":
            botmaster = builder.botmaster
            botmaster.maybe_cancel_in_progress_buildrequest(requests[0].id, "somebody wants so")
        return super().newBuild(requests, builder)

for builder in BuildmasterConfig["builders"]:
    builder.factory = Cancelling(factory.steps)
"""
