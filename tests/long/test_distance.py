# SPDX-License-Identifier: GPL-2.0-only
"""Faults of a host that is far away, by a network that loses packets. All that is said goes there.

The worker comes through a channel, so that its connection takes the same way.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import buildmaster
import lab as lab_module
from buildmaster import BuildMaster, wait_for
from commands import status
from lab import Lab
from latent_libvirt.images.local import LocalImage
from machine import Distance, Machine, machine
from pools import PoolSettings, master_cfg, write_pool
from relay import Relay

LINES = 60
AWAY = 12.0
"""Seconds for which nothing arrives: longer than a sign of life may take."""

COUNTING = f"""
command = "for n in $(seq {LINES}); do echo $n; sleep 0.2; done"
factory = util.BuildFactory([steps.ShellCommand(name="count", command=command)])
"""

CABLE = "host"
SLOW = 1200.0
"""Seconds that a job may take, with the boot of a VM among them."""

SETTINGS = PoolSettings(
    slots=1, network="none", connection="channel", start="resume", boot_timeout="20m"
)


@dataclass(frozen=True)
class Far:
    """A master, and the cable to its host."""

    lab: Lab
    machine: Machine
    master: BuildMaster


@pytest.fixture(scope="module", params=[0.02, 0.2], ids=lambda seconds: f"{seconds * 1000:g} ms")
def far(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    cache: Path,
    image: LocalImage,
) -> Iterator[Far]:
    """Give a master whose host is as far away, and whose slots are saved."""
    directory = tmp_path_factory.mktemp("far")
    with ExitStack() as stack:
        lab = stack.enter_context(lab_module.running(directory / "lab", cache=cache))
        lab.publish(image)
        before, _, socket = lab.uri.partition("socket=")
        cable = machine({CABLE: socket}, distance=Distance(request.param))
        found = stack.enter_context(cable)
        near = directory / "near"
        stack.callback(Relay(str(near), found.addresses[CABLE], enter=found.enter).stop)
        home = directory / "master"
        home.mkdir()
        write_pool(home, f"{before}socket={near}", SETTINGS)
        master = stack.enter_context(buildmaster.running(home, master_cfg(COUNTING)))
        wait_for("a slot to be saved", lambda: status(master)["hosts"][0]["saved"], deadline=SLOW)
        yield Far(lab, found, master)


def test_a_job_runs(far: Far) -> None:
    request = far.master.force()

    assert far.master.wait_for_result(request, deadline=SLOW) == "SUCCESS", far.master.log[-5000:]
    assert far.master.results(request) == ["SUCCESS"]
    wait_for("nothing to be left", lambda: not far.lab.leftovers())


def test_a_cable_that_is_pulled_out_under_a_build_loses_no_line(far: Far) -> None:
    request = _counting(far.master)

    far.machine.pull(CABLE)
    time.sleep(AWAY)
    far.machine.plug(CABLE)

    _has_counted_once(far.master, request)


def test_a_libvirtd_that_is_killed_under_a_build_loses_no_line(far: Far) -> None:
    request = _counting(far.master)

    far.lab.sandbox.kill()
    far.lab.sandbox.restart()

    _has_counted_once(far.master, request)


def test_a_vm_that_is_killed_under_its_build_has_it_run_again(far: Far) -> None:
    request = _counting(far.master)

    (name,) = far.lab.domains()
    with far.lab.connection() as connection:
        connection.lookupByName(name).destroy()

    assert far.master.wait_for_result(request, deadline=SLOW) == "SUCCESS"
    assert far.master.results(request) == ["RETRY", "SUCCESS"]
    wait_for("nothing to be left", lambda: not far.lab.leftovers())


def test_a_master_that_is_killed_under_a_build_runs_it_again_and_leaves_nothing(far: Far) -> None:
    request = _counting(far.master)

    far.master.kill()
    far.master.start()

    assert far.master.wait_for_result(request, deadline=SLOW) == "SUCCESS", far.master.log[-5000:]
    assert far.master.results(request) == ["RETRY", "SUCCESS"]
    wait_for("nothing to be left", lambda: not far.lab.leftovers())


def _counting(master: BuildMaster) -> int:
    """Start a job; return its request when its guest counts."""
    request = master.force()
    build = master.wait_for_build(request)
    wait_for("the first lines", partial(_counted, master, build))
    return request


def _counted(master: BuildMaster, build: dict[str, Any]) -> list[str]:
    return [line for line in master.logs(build).splitlines() if line.isdigit()]


def _has_counted_once(master: BuildMaster, request: int) -> None:
    assert master.wait_for_result(request, deadline=SLOW) == "SUCCESS", master.log[-5000:]
    (build,) = master.builds(request)
    assert _counted(master, build) == [str(number) for number in range(1, LINES + 1)]
