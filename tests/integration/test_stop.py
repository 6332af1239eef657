# SPDX-License-Identifier: GPL-2.0-only
"""A single master that is stopped or restarted while builds run: none is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

import buildmaster
from buildmaster import BuildMaster, wait_for
from daemons import Daemons, daemons
from lab import Lab
from pools import STEP_UNTIL_TOLD, MakeMaster, go_on, write_pool
from ready import RESUMED

CONFIGURATION = """
from buildbot.plugins import worker
from latent_libvirt import Pool

services = [Pool.from_yaml("pool.yaml")]
workers = [worker.LocalWorker("local")]
factory = util.BuildFactory([
    steps.ShellCommand(command=["sleep", util.Property("seconds")]),
])
"""

FORCE = """
import os
loop = f"while [ ! -e {os.getcwd()}/go-on ]; do sleep 0.1; done"
trigger = steps.Trigger(schedulerNames=["children"], waitForFinish=True)
BuildmasterConfig["builders"] += [
    util.BuilderConfig(name, workernames=["local"], factory=util.BuildFactory([step]))
    for name, step in (("parent", trigger), ("child", steps.ShellCommand(command=loop)))
]
BuildmasterConfig["schedulers"] = [
    schedulers.Triggerable(name="children", builderNames=["child"]),
    schedulers.ForceScheduler(
        name="force",
        builderNames=["check", "parent"],
        properties=[util.StringParameter(name="seconds", default="0")],
    ),
]
"""

POOL = """
master: {max_vms: 1, address: 127.0.0.1}
hosts: {here: {uri: "test:///default", slots: 1, storage_pool: default-pool}}
labels: {debian-12: {image: debian-12}}
"""


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BuildMaster]:
    """Give one master to the tests whose builds need no VM."""
    directory = tmp_path_factory.mktemp("master")
    (directory / "pool.yaml").write_text(POOL)
    text = buildmaster.master_cfg(CONFIGURATION) + FORCE
    with buildmaster.running(directory, text) as running:
        yield running


def running_build(master: BuildMaster, *, seconds: int) -> int:
    """Start a job that sleeps; return its request once it does."""
    request = master.force(seconds=str(seconds))
    wait_for_step(master, master.wait_for_build(request), "shell")
    return request


def wait_for_step(master: BuildMaster, build: dict[str, Any], name: str) -> None:
    """Return when a build is at that step."""
    steps = f"builds/{build['buildid']}/steps"
    wait_for(f"step {name}", lambda: name in [step["name"] for step in master.get(steps)])


def test_a_build_that_is_not_runs_again_after_a_restart(master: BuildMaster) -> None:
    request = running_build(master, seconds=60)

    master.stop()

    master.start()
    wait_for("the second build", lambda: len(master.builds(request)) == 2)
    assert master.results(request) == ["RETRY", None]

    master.cancel(master.builds(request)[1])
    assert master.wait_for_result(request) == "CANCELLED"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_build_that_was_cancelled_does_not_run_again_whatever_stops_its_master(
    master: BuildMaster, how: signal.Signals
) -> None:
    cancelled = running_build(master, seconds=60)

    master.cancel(master.builds(cancelled)[0])
    master.end_by(how)

    master.start()
    assert master.wait_for_result(cancelled) == "CANCELLED"
    assert master.results(cancelled) == ["CANCELLED"]


def test_ctrl_c_loses_no_build_either(master: BuildMaster) -> None:
    request = running_build(master, seconds=60)

    master.end_by(signal.SIGINT)

    master.start()
    wait_for("the second build", lambda: len(master.builds(request)) == 2)
    assert master.results(request) == ["RETRY", None]
    master.cancel(master.builds(request)[1])


def test_a_build_that_another_waits_for_ends_with_its_master_and_is_triggered_again(
    master: BuildMaster,
) -> None:
    request = master.force("parent")
    (child,) = children_of(master, master.wait_for_build(request))
    wait_for_step(master, child, "shell")

    master.stop()

    master.start()
    (again,) = children_of(master, master.wait_for_build(request, number=2))
    assert master.results(request) == ["RETRY", None]
    assert master.results(child["buildrequestid"]) == ["CANCELLED"]
    go_on(master)
    assert master.wait_for_result(request) == "SUCCESS"
    assert master.results(again["buildrequestid"]) == ["SUCCESS"]
    assert len(master.get("builders/child/builds")) == 2


def children_of(master: BuildMaster, build: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the builds that a build has triggered, once there is one."""
    triggered = f"builds/{build['buildid']}/triggered_builds"
    return list(wait_for("a triggered build", lambda: master.get(triggered)))


IN_A_VM = f"""{STEP_UNTIL_TOLD}
factory = util.BuildFactory([UntilTold(), steps.ShellCommand(command=["true"])])
"""


def test_a_build_in_a_vm_outlives_each_way_to_stop_or_restart_its_master(
    ready_lab: Lab, make_ready_master: MakeMaster
) -> None:
    master = make_ready_master(IN_A_VM, settings=replace(RESUMED, stop_within="2m"))
    finished = master.force()
    wait_for_step(master, master.wait_for_build(finished), "until told")
    os.kill(master.pid, signal.SIGTERM)
    wait_for("the stop", lambda: "builds have 120 s to finish" in master.log)
    go_on(master)
    master.wait_for_end()

    (master.directory / "go-on").unlink()
    write_pool(master.directory, ready_lab.uri, replace(RESUMED, stop_within="1s"))
    with daemons() as there:
        status, said = there.run("start", master.directory)
        assert status == 0, said
        assert master.results(finished) == ["SUCCESS"]
        request = master.force()
        wait_for_step(master, master.wait_for_build(request), "until told")
        restart(there, master)
        wait_for_step(master, master.wait_for_build(request, number=2), "until told")
        assert master.results(request) == ["RETRY", None]
        stop_clean(there, master)

    assert not ready_lab.leftovers()
    master.start()
    assert master.wait_for_result(request) == "SUCCESS"
    assert master.results(request) == ["RETRY", "SUCCESS"]


def restart(there: Daemons, master: BuildMaster) -> None:
    """Run ``buildbot restart``, which gives up if the master has not stopped within 10 s."""
    status, said = there.run("restart", master.directory)
    if "never saw process go away" in said:
        wait_for("its end", lambda: there.run("stop", master.directory)[0] == 0)
        status, said = there.run("start", master.directory)
    assert status == 0, said


def stop_clean(there: Daemons, master: BuildMaster) -> None:
    """Run ``buildbot stop --clean``; let the build end that this waits for."""
    before = master.log.count("Initiating clean shutdown")
    with there.begin("stop", "--clean", master.directory) as command:
        wait_for("it", lambda: master.log.count("Initiating clean shutdown") > before)
        go_on(master)
        said, _ = command.communicate(timeout=buildmaster.DEADLINE)
    assert command.returncode == 0, said
