# SPDX-License-Identifier: GPL-2.0-only
"""Guests that answer nothing any more while their connection stays open, in each phase of a build.

They are real guests, which the hypervisor suspends just before the master speaks to them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

import buildmaster
from buildmaster import BuildMaster, wait_for
from commands import status
from job_masters import SERVES_JOBS, JobClient
from lab import Lab
from ready import LIKE_RESUMED, RESUMED, ReadyLab

MUTE = """
import subprocess
from buildbot.process.remotecommand import RemoteCommand
from buildbot.process.buildstep import BuildStep
from buildbot.worker.protocols import pb
from twisted.internet.defer import gatherResults
from twisted.python import log

def mute_at(phase, method, speaks=lambda *_, **__: True):
    speak = getattr(pb.Connection, method)

    def mute(self, *arguments, **keywords):
        vm = self.worker._vm
        build = next((b for b in self.worker.master.botmaster.builders["check"].building), None)
        wanted = build and build.getProperty("mute_at") == phase
        if wanted and speaks(*arguments, **keywords) and vm is not None:
            name = vm.lease.vm.machine.name
            subprocess.run(["virsh", "-c", URI, "suspend", name], capture_output=True)
            log.msg(f"guest {name} is mute at {phase} of build {build.number}")
        return speak(self, *arguments, **keywords)

    setattr(pb.Connection, method, mute)

mute_at("attach", "remoteSetBuilderList")
mute_at("ping", "remotePrint", lambda message: message == "ping")
mute_at("build", "remoteStartBuild")
mute_at("step", "remoteStartCommand")

class TwoAtOnce(BuildStep):
    async def run(self):
        arguments = {"workdir": "build", "command": ["sleep", "3600"]}
        commands = [RemoteCommand("shell", arguments) for _ in range(2)]
        await gatherResults([self.runCommand(command) for command in commands])
        return 0

def is_(kind):
    return lambda step: step.getProperty("kind") == kind

factory = util.BuildFactory([
    steps.ShellCommand(command=["true"], doStepIf=is_("quick")),
    steps.ShellCommand(command=["sleep", "3600"], timeout=300, maxTime=600, doStepIf=is_("shell")),
    TwoAtOnce(doStepIf=is_("two")),
    steps.Trigger(
        schedulerNames=["children"],
        waitForFinish=True,
        set_properties={"label": "debian-12"},
        doStepIf=is_("parent"),
    ),
])
"""

BUILDERS = """
BuildmasterConfig["builders"].append(
    util.BuilderConfig(
        name="child",
        workernames=[w.name for w in workers],
        factory=util.BuildFactory([steps.ShellCommand(command=["sleep", "3600"])]),
    )
)
BuildmasterConfig["schedulers"] = [
    schedulers.Triggerable(
        name="children", builderNames=["child"]
    ),
    schedulers.ForceScheduler(
        name="force",
        builderNames=["check"],
        properties=[
            util.StringParameter(name="label", default="debian-12"),
            util.StringParameter(name="mute_at", default=""),
            util.StringParameter(name="kind", default="shell"),
        ],
    ),
]
"""

WORKERS = """
from buildbot.plugins import worker
workers = [
    worker.LibvirtLatentWorker(f"by-hand-{n}", pool=pool, label=util.Property("label"))
    for n in range(2)
]
"""

# Each time is far more than a guest of a busy machine needs to attach and begin its build.
OTHERS = f"""
mortal: {{{LIKE_RESUMED}, max_lifetime: 30s}}
lasting: {{{LIKE_RESUMED}, max_lifetime: 60s, max_builds_per_vm: 5, idle_timeout: 4m}}
hasty: {{{LIKE_RESUMED}, attach_timeout: 20s, launch_attempts: 2}}
"""

SETTINGS = replace(RESUMED, max_vms=2, label_keys="cancel_timeout: 3s", other_labels=OTHERS)


@pytest.fixture(scope="module")
def master(
    shared_ready_lab: ReadyLab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BuildMaster]:
    """Give one master to all tests of this module."""
    shared_ready_lab.save()
    muting = f"URI = {shared_ready_lab.lab.uri!r}\n{MUTE}"
    with shared_ready_lab.masters(tmp_path_factory.mktemp("masters")) as make:
        yield make(muting, workers=WORKERS, settings=SETTINGS, more=BUILDERS + SERVES_JOBS)


def mute(master: BuildMaster, **properties: str) -> int:
    """Start a job whose guest is mute at some phase; return its request once it is."""
    told = master.log.count("is mute at")
    request = master.force(**properties)
    wait_for("the guest to be mute", lambda: master.log.count("is mute at") > told)
    return request


def domain_of(build: dict[str, Any]) -> str:
    """Return the name of the VM that a build had."""
    return str(build["properties"]["vm_domain"][0])


@pytest.mark.parametrize(
    ("phase", "kind"),
    [
        ("step", "shell"),
        ("step", "two"),
        ("attach", "shell"),
        ("ping", "quick"),
        ("build", "quick"),
    ],
)
def test_a_guest_cannot_refuse_that_its_build_is_cancelled(
    ready_lab: Lab, master: BuildMaster, phase: str, kind: str
) -> None:
    request = mute(master, mute_at=phase, kind=kind)
    (build,) = master.builds(request)

    master.cancel(build)

    assert master.wait_for_result(request) == "CANCELLED"
    (build,) = master.builds(request)
    if phase != "attach":  # which the master waits for, not the build
        assert f"VM {domain_of(build)}" in build["state_string"]
        assert "of label 'debian-12' did not end the step within 3 s" in master.logs(build)
    wait_for("the VM to go", lambda: not ready_lab.leftovers())


def test_nor_that_its_job_is_cancelled_by_the_job_api(ready_lab: Lab, master: BuildMaster) -> None:
    client, told = JobClient(master), master.log.count("is mute at")
    properties = {"mute_at": "step", "kind": "shell"}
    posted = client.post(label="debian-12", properties=properties)
    assert posted.status == 201, posted
    wait_for("the guest to be mute", lambda: master.log.count("is mute at") > told)

    assert client.delete(posted.document["uuid"]).status == 202

    assert client.result(posted.document["uuid"]) == "cancelled"
    (attempt,) = client.job(posted.document["uuid"])["attempts"]
    assert attempt["result"] == "cancelled"
    wait_for("the VM to go", lambda: not ready_lab.leftovers())


def test_a_build_that_waits_for_a_mute_one_is_cancelled_with_it(
    ready_lab: Lab, master: BuildMaster
) -> None:
    request = mute(master, mute_at="step", kind="parent")
    (parent,) = master.builds(request)

    master.cancel(parent)

    assert master.wait_for_result(request) == "CANCELLED"
    (child,) = [b["buildid"] for b in master.get("builds") if b["buildid"] > parent["buildid"]]
    ended = wait_for(
        "the child to end",
        lambda: [b for b in master.get(f"builds/{child}") if b["complete"]],
    )
    assert [buildmaster.RESULTS[build["results"]] for build in ended] == ["CANCELLED"]


@pytest.mark.parametrize("kind", ["shell", "two", "parent"])
def test_a_vm_that_has_lived_its_time_is_destroyed_and_its_build_ends_once(
    ready_lab: Lab, master: BuildMaster, kind: str
) -> None:
    request = master.force(label="mortal", kind=kind)

    assert master.wait_for_result(request) == "EXCEPTION"

    (build,) = master.builds(request)
    for words in (f"VM {domain_of(build)}", "label 'mortal'", "max_lifetime of 30s"):
        assert words in build["state_string"]
        assert words in master.logs(build)
    wait_for("the VM to go", lambda: not ready_lab.leftovers())


def test_a_vm_that_somebody_suspends_says_so_and_its_time_goes_on(
    ready_lab: Lab, master: BuildMaster
) -> None:
    request = mute(master, label="mortal", mute_at="step")

    def pauses() -> list[str]:
        return [lease["pause"] for lease in status(master)["leases"] if lease["pause"]]

    wait_for("the pause", lambda: pauses() == ["somebody has suspended it"])

    assert master.wait_for_result(request) == "EXCEPTION"
    (build,) = master.builds(request)
    assert "max_lifetime of 30s" in build["state_string"]
    wait_for("the VM to go", lambda: not ready_lab.leftovers())


def test_a_vm_that_waits_for_more_builds_ends_in_the_middle_of_its_life(
    ready_lab: Lab, master: BuildMaster
) -> None:
    jobs = [master.force(label="lasting", kind="quick") for _ in range(2)]
    assert [master.wait_for_result(job) for job in jobs] == ["SUCCESS", "SUCCESS"]

    wait_for("the idle VMs to go", lambda: not ready_lab.leftovers())

    later = [master.force(label="lasting", kind="quick") for _ in range(2)]
    assert [master.wait_for_result(job) for job in later] == ["SUCCESS", "SUCCESS"]
    assert [master.results(job) for job in later] == [["SUCCESS"], ["SUCCESS"]], "no worker is lost"


@pytest.mark.parametrize("phase", ["attach", "ping", "build"])
def test_a_guest_that_is_mute_before_its_first_step_is_a_lost_vm(
    ready_lab: Lab, master: BuildMaster, phase: str
) -> None:
    request = mute(master, label="hasty", mute_at=phase, kind="quick")

    assert master.wait_for_result(request) == "EXCEPTION"
    assert "this job has lost 2 VMs" in master.logs(master.builds(request)[-1])


def test_a_master_that_is_told_to_stop_does_not_wait_for_a_mute_guest(
    ready_lab: Lab, master: BuildMaster
) -> None:
    request = mute(master, mute_at="step", kind="shell")

    master.stop()

    assert not ready_lab.leftovers()
    master.start()
    wait_for("the second build", lambda: len(master.builds(request)) == 2)
    assert master.results(request)[0] == "RETRY"
    master.cancel(master.builds(request)[1])
    assert master.wait_for_result(request) == "CANCELLED"
