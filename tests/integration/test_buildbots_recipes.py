# SPDX-License-Identifier: GPL-2.0-only
"""What Buildbot's manual says of workers, tried with those of a pool."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from buildmaster import BuildMaster, wait_for
from commands import told
from lab import Lab
from pools import STEP_UNTIL_TOLD, WORKER_BY_PROPERTY, go_on
from ready import RESUMED, ReadyLab

FACTORY = """
import time
from buildbot.util.service import BuildbotService

factory = util.BuildFactory([steps.ShellCommand(command=["true"])])

asked, rests = [], []

# From the manual, "Builder Configuration".
def can_start(builder, wfb, request):
    veto = request.properties.getProperty("veto")
    if veto == "for an hour" and not rests:
        rests.append(wfb.worker.name)
        wfb.worker.quarantine_timeout = 3600
        wfb.worker.putInQuarantine()
        return False
    if veto == "yes":
        asked.append(time.monotonic())
        write("asked", asked)
        if len(asked) < 4:
            wfb.worker.quarantine_timeout = 2
            wfb.worker.putInQuarantine()
            return False
    return True

def write(name, what):
    with open(name, "w") as file:
        json.dump(what, file)

class Mailer(BuildbotService):
    name = "mailer"
    missing = []

    async def startService(self):
        await super().startService()
        await self.master.mq.startConsuming(self.tell, ("workers", None, "missing"))

    def tell(self, key, message):
        self.missing.append([message["name"], message["notify"]])
        write("missing", self.missing)

services.append(Mailer())
"""

BUILDERS = f"""{STEP_UNTIL_TOLD}
BuildmasterConfig["builders"][0].canStartBuild = can_start
BuildmasterConfig["builders"].append(
    util.BuilderConfig(
        name="other", workernames=["by-hand"], factory=factory, collapseRequests=False
    )
)
BuildmasterConfig["builders"].append(
    util.BuilderConfig(
        name="lasting",
        workernames=["by-hand"],
        factory=util.BuildFactory([UntilTold(), steps.ShellCommand(command=["true"])]),
    )
)
BuildmasterConfig["schedulers"] = [
    schedulers.ForceScheduler(
        name="force",
        builderNames=["check", "other", "lasting"],
        properties=[
            util.StringParameter(name="label", default="debian-12"),
            util.StringParameter(name="veto", default=""),
        ],
    ),
]
"""

WORKERS = WORKER_BY_PROPERTY.replace(
    "pool=pool,", "pool=pool, max_builds=1, notify_on_missing=['a@b.example'],"
)

SETTINGS = replace(
    RESUMED,
    max_vms=2,  # more than the worker may use
    label_keys="max_builds_per_vm: 9\nidle_timeout: 5m",
)


@pytest.fixture(scope="module")
def master(
    shared_ready_lab: ReadyLab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BuildMaster]:
    """Give one master with one worker to all tests of this module."""
    shared_ready_lab.save()
    with shared_ready_lab.masters(tmp_path_factory.mktemp("masters")) as make:
        yield make(FACTORY, workers=WORKERS, settings=SETTINGS, more=BUILDERS)


def worker(master: BuildMaster) -> dict[str, Any]:
    """Return what the data API says of the worker."""
    (found,) = master.get("workers")
    return found


def written(master: BuildMaster, name: str) -> list[Any]:
    """Return what the master has written to that file."""
    path = master.directory / name
    return list(json.loads(path.read_text())) if path.exists() else []


def wait_for_status(master: BuildMaster, words: str) -> None:
    """Return when ``latent-libvirt status`` says that."""
    wait_for(words, lambda: words in " ".join(told(master, "status").split()))


def test_a_worker_that_a_veto_puts_into_quarantine_is_asked_again_after_that(
    ready_lab: Lab, master: BuildMaster
) -> None:
    request = master.force(veto="yes")

    assert master.wait_for_result(request) == "SUCCESS"
    # Once it agrees it may be asked again, as long as there is no room.
    until_it_agreed = written(master, "asked")[:4]
    gaps = [later - earlier for earlier, later in pairwise(until_it_agreed)]
    assert len(gaps) == 3
    assert [gap for gap in gaps if not 1.5 < gap < 30] == []
    master.control_worker("stop")  # which ends the VM that idles


def test_a_worker_that_idles_or_has_no_vm_builds_again_after_a_graceful_stop(
    ready_lab: Lab, master: BuildMaster
) -> None:
    for state in ("without a VM", "with an idle one"):
        master.control_worker("stop")
        wait_for("the VM to go", lambda: not ready_lab.leftovers())

        assert not worker(master)["graceful"]
        request = master.force()
        assert master.wait_for_result(request) == "SUCCESS", state
        assert master.results(request) == ["SUCCESS"]
    master.control_worker("stop")


def test_a_worker_that_rests_is_named_and_builds_once_its_label_is_undrained(
    ready_lab: Lab, master: BuildMaster
) -> None:
    request = master.force(veto="for an hour")
    wait_for_status(
        master, "none of its workers is free (in back-off after a failed start: by-hand)"
    )
    assert master.builds(request) == []

    told(master, "undrain", "debian-12")

    assert master.wait_for_result(request) == "SUCCESS"
    master.control_worker("stop")


def test_a_worker_with_a_build_ends_that_and_its_vm_after_a_graceful_stop_and_builds_again(
    ready_lab: Lab, master: BuildMaster
) -> None:
    building = master.force("lasting")
    build = master.wait_for_build(building)
    steps = f"builds/{build['buildid']}/steps"
    wait_for("its step", lambda: "until told" in [step["name"] for step in master.get(steps)])
    master.control_worker("stop")
    waiting = master.force()
    wait_for_status(master, "none of its workers is free (stopping: by-hand)")
    assert (worker(master)["graceful"], master.results(building)) == (True, [None])

    go_on(master)

    requests = (building, waiting)
    assert [master.wait_for_result(request) for request in requests] == ["SUCCESS"] * 2
    assert [master.results(request) for request in requests] == [["SUCCESS"]] * 2
    vms = [master.builds(request)[0]["properties"]["vm_id"][0] for request in requests]
    assert vms[0] != vms[1]
    assert not worker(master)["graceful"]
    master.control_worker("stop")


def test_a_worker_has_one_build_at_a_time_whatever_builders_it_has(
    ready_lab: Lab, master: BuildMaster
) -> None:
    requests = [master.force(builder) for builder in ("check", "other", "check", "other")]

    assert [master.wait_for_result(request) for request in requests] == ["SUCCESS"] * 4
    builds = sorted(
        (build for request in requests for build in master.builds(request)),
        key=lambda build: build["buildid"],
    )
    for earlier, later in pairwise(builds):
        assert earlier["complete_at"] <= later["started_at"]
    master.control_worker("stop")


def test_a_paused_worker_builds_when_it_is_not_any_more(
    ready_lab: Lab, master: BuildMaster
) -> None:
    master.control_worker("pause")
    wait_for("the pause", lambda: worker(master)["paused"])
    request = master.force()
    hopeless = master.force(label="nowhere")
    wait_for_status(master, "none of its workers is free (paused: by-hand)")
    assert [master.builds(job) for job in (request, hopeless)] == [[], []]

    master.control_worker("unpause")

    assert master.wait_for_result(request) == "SUCCESS"
    assert master.wait_for_result(hopeless) == "EXCEPTION"
    master.control_worker("stop")


def test_somebody_is_told_of_a_worker_that_gets_no_vm(ready_lab: Lab, master: BuildMaster) -> None:
    assert master.wait_for_result(master.force(label="nowhere")) == "EXCEPTION"

    wait_for("the message", lambda: ["by-hand", ["a@b.example"]] in written(master, "missing"))


def test_a_worker_that_is_killed_runs_its_build_again(ready_lab: Lab, master: BuildMaster) -> None:
    master.control_worker("kill")  # without a VM
    assert master.wait_for_result(master.force()) == "SUCCESS"
    master.control_worker("kill")  # with an idle one
    wait_for("the VM to go", lambda: not ready_lab.leftovers())
    assert master.wait_for_result(master.force()) == "SUCCESS"
    master.control_worker("stop")
