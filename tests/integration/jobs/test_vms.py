# SPDX-License-Identifier: GPL-2.0-only
"""Jobs whose builds run in VMs: what their URL tells of these."""

from __future__ import annotations

import time
from typing import Any

import libvirt

from buildmaster import BuildMaster, wait_for
from job_masters import Reply, ask
from lab import Lab
from latent_libvirt.jobs import tokens
from pools import UNTIL_TOLD, WORKER_BY_PROPERTY, MakeMaster, PoolSettings, go_on

AND_THEN_SLEEPING = """
factory.addStep(steps.ShellCommand(name="sleep", command=["sleep", "3"]))
"""

JOB_API = """
c = BuildmasterConfig
c["services"].append(util.JobApi(tokens="tokens.json", labels={"debian-*": "check"}))
c["www"]["plugins"]["jobs"] = {}
"""


def url(master: BuildMaster, uuid: str = "") -> str:
    return f"http://127.0.0.1:{master.web_port}/jobs" + (f"/{uuid}" if uuid else "")


def post(master: BuildMaster, **body: Any) -> Reply:
    path = master.directory / "tokens.json"
    name = f"ci-{time.monotonic_ns()}"
    token = tokens.create(path, name=name, builders=["check"], now=time.time(), expires=None)
    wait_for("the job API", lambda: ask("GET", url(master)).status != 503)
    return ask("POST", url(master), token=token, body=body)


def document(master: BuildMaster, uuid: str) -> dict[str, Any]:
    return dict(ask("GET", url(master, uuid)).document)


def wait_for_step(master: BuildMaster, uuid: str) -> dict[str, Any]:
    """Return the job's document once a step of its own runs."""

    def runs() -> dict[str, Any] | None:
        job = document(master, uuid)
        attempts = job["attempts"]
        return job if attempts and len(attempts[-1]["steps"]) > 1 else None

    return dict(wait_for("a step to run", runs))


def test_each_attempt_tells_which_vm_it_had(ready_lab: Lab, make_ready_master: MakeMaster) -> None:
    factory = UNTIL_TOLD + AND_THEN_SLEEPING
    master = make_ready_master(factory, workers=WORKER_BY_PROPERTY, more=JOB_API)
    posted = post(master, label="debian-12")
    assert posted.status == 201
    uuid = posted.document["uuid"]

    (first,) = wait_for_step(master, uuid)["attempts"]
    assert (first["state"], first["host"], first["label"]) == ("running", "here", "debian-12")
    assert [first["vm"]] == ready_lab.domains()
    destroy(ready_lab, first["vm"])
    wait_for("another attempt", lambda: len(document(master, uuid)["attempts"]) == 2)
    go_on(master)

    wait_for("the job to end", lambda: document(master, uuid)["result"])
    done = document(master, uuid)
    lost, second = done["attempts"]
    assert (done["result"], lost["result"], second["result"]) == ("success", "retry", "success")
    assert second["image"] == lost["image"] != ""
    assert second["seconds"]["running"] >= 2


CHOOSING = """
factory = util.BuildFactory([
    steps.ShellCommand(name="count", command="test $(nproc) = 2", haltOnFailure=True),
])
"""

FORCE = """
from buildbot.plugins import schedulers
choice = [util.StringParameter(name="vcpus", default="")]
force = schedulers.ForceScheduler(name="force", builderNames=["check"], properties=choice)
c["schedulers"] = [force]
"""


def test_a_job_chooses_the_size_of_its_vm_within_the_bounds_of_its_label(
    lab: Lab, make_master: MakeMaster
) -> None:
    settings = PoolSettings(label_keys="vcpus: {min: 1, max: 2, default: 1}")
    master = make_master(CHOOSING, settings=settings, more=JOB_API + FORCE)

    refused = post(master, label="debian-12", properties={"vcpus": "3</vcpu>"})
    too_large = master.force(vcpus="3")
    chosen = post(master, label="debian-12", properties={"vcpus": 2})

    bounds = "label 'debian-12' lets builds choose 1 to 2 vCPUs, and the property 'vcpus' is"
    assert (refused.status, chosen.status) == (422, 201)
    assert f"{bounds} '3</vcpu>'" in refused.document["title"]
    assert master.wait_for_result(too_large) == "EXCEPTION"
    assert f"{bounds} '3'" in master.logs(master.builds(too_large)[0])
    uuid = chosen.document["uuid"]
    wait_for("the job to end", lambda: document(master, uuid)["result"] == "success")


def destroy(lab: Lab, domain: str) -> None:
    """End a VM as a power cut of its own would."""
    connection = libvirt.open(lab.uri)
    try:
        connection.lookupByName(domain).destroy()
    finally:
        connection.close()
