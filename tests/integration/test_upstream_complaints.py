# SPDX-License-Identifier: GPL-2.0-only
"""What Buildbot's users have complained of, where it takes a real master to see it.

``docs/explanation/upstream.md`` has all of the complaints, and which test stands for which.
"""

from __future__ import annotations

from buildmaster import wait_for
from lab import Lab
from pools import MakeMaster, PoolSettings

SLEEPING = "factory = util.BuildFactory([steps.ShellCommand(command=['sleep', '2'])])"

WITHOUT_THE_BUILDER = """
BuildmasterConfig["builders"] = [
    util.BuilderConfig(
        name="other", workernames=[w.name for w in workers], factory=util.BuildFactory()
    )
]
BuildmasterConfig["schedulers"] = [
    schedulers.ForceScheduler(name="force", builderNames=["other"])
]
"""

CHOOSY = """
def next_worker(builder, workers, request):
    wanted = request.properties.getProperty("label") != "unwanted"
    return workers[0] if wanted else None

for builder in BuildmasterConfig["builders"]:
    builder.nextWorker = next_worker
"""


def test_a_builder_that_was_removed_and_added_again_starts_vms(
    lab: Lab, make_master: MakeMaster
) -> None:
    """Buildbot #9135: its latent workers stay with the builder that has gone."""
    master = make_master(SLEEPING)
    configuration = (master.directory / "master.cfg").read_text()

    (master.directory / "master.cfg").write_text(configuration + WITHOUT_THE_BUILDER)
    master.reconfig()
    (master.directory / "master.cfg").write_text(configuration)
    master.reconfig()

    assert master.wait_for_result(master.force()) == "SUCCESS"


def test_a_next_worker_that_wants_none_for_a_job_holds_up_no_other(
    lab: Lab, make_master: MakeMaster
) -> None:
    """Buildbot #6251, #4838: no request behind that one was looked at."""
    master = make_master(SLEEPING, settings=PoolSettings())
    with (master.directory / "master.cfg").open("a") as configuration:
        configuration.write(CHOOSY)
    master.reconfig()

    unwanted = master.force(label="unwanted")
    wanted = master.force()

    assert master.wait_for_result(wanted) == "SUCCESS"
    assert master.builds(unwanted) == []
    wait_for("everything to be freed", lambda: not lab.leftovers())
