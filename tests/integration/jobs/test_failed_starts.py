# SPDX-License-Identifier: GPL-2.0-only
"""Jobs whose builds Buildbot cannot start, on a master without a pool."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from faulty_builds import FAULTS, FAULTY
from job_masters import JobMaster

ONE_WORKER = """
c["workers"] = [worker.LocalWorker(WORKERS[0], max_builds=1)]
for its_builder in c["builders"]:
    its_builder.workernames = WORKERS[:1]
c["builders"].append(
    util.BuilderConfig(name="faulty", workernames=WORKERS[:1], factory=factory)
)
"""


@pytest.fixture
def master(tmp_path: Path) -> Iterator[JobMaster]:
    """Give a master with one worker, and a builder whose builds fail to start as a job says."""
    master = JobMaster(tmp_path / "master", more=FAULTY + ONE_WORKER)
    master.start()
    yield master
    master.stop()


def test_a_job_whose_build_cannot_be_started_ends_as_an_exception_and_frees_its_worker(
    master: JobMaster,
) -> None:
    jobs = {
        fault: master.post(builder="faulty", properties={"fault": fault}).document["uuid"]
        for fault in FAULTS
    }

    ended = {fault: master.finished(uuid) for fault, uuid in jobs.items()}
    assert {job["result"] for job in ended.values()} == {"exception"}
    assert all(master.delete(uuid).status == 200 for uuid in jobs.values())
    (build,) = master.builds(ended["factory"]["build_request"])
    assert "the factory is broken" in f"{build['state_string']}\n{master.logs(build)}"

    master.stop()  # which waits for builds that have not ended
    master.start()
    good = master.post(builder="check").document
    assert master.finished(good["uuid"])["result"] == "success"
    for fault, uuid in jobs.items():
        assert master.job(uuid) == ended[fault], "it was claimed again"
        assert len(ended[fault]["attempts"]) == 1
