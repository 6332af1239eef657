# SPDX-License-Identifier: GPL-2.0-only
"""A single master that is stopped or restarted while builds run: none is lost."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

import buildmaster
from buildmaster import BuildMaster, wait_for

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
BuildmasterConfig["schedulers"] = [
    schedulers.ForceScheduler(
        name="force",
        builderNames=["check"],
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
    """Give one master to all tests; its builds need no VM, which ``test_mute_guests.py`` has."""
    directory = tmp_path_factory.mktemp("master")
    (directory / "pool.yaml").write_text(POOL)
    text = buildmaster.master_cfg(CONFIGURATION) + FORCE
    with buildmaster.running(directory, text) as running:
        yield running


def running_build(master: BuildMaster, *, seconds: int) -> int:
    """Start a job that sleeps; return its request once it does."""
    request = master.force(seconds=str(seconds))
    build = master.wait_for_build(request)
    step = f"builds/{build['buildid']}/steps?name=shell"
    wait_for("its step to run", lambda: master.get(step))
    return request


def test_a_build_that_is_done_soon_is_done_before_its_master_stops(master: BuildMaster) -> None:
    request = running_build(master, seconds=2)

    master.stop()

    master.start()
    assert master.results(request) == ["SUCCESS"]


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
