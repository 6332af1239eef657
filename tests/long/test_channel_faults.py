# SPDX-License-Identifier: GPL-2.0-only
"""Faults in the middle of an upload, a download and a log of 100,000 lines, through a channel."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import buildmaster
import lab as lab_module
from buildmaster import BuildMaster, wait_for
from lab import Lab
from latent_libvirt.images.local import LocalImage
from pools import PoolSettings, master_cfg, write_pool

LINES = 100_000
SIZE = 24_000_000
AWAY = 10.0
"""Seconds for which something is not there."""

SAY_LINES = f"""
import time
for first in range(1, {LINES}, 1000):
    print(*range(first, first + 1000), sep="\\n", flush=True)
    time.sleep(0.05)
"""

FACTORY = f"""
factory = util.BuildFactory([
    steps.ShellCommand(
        name="make", command="head -c {SIZE} /dev/urandom >made; sha256sum made"
    ),
    steps.FileUpload(workersrc="made", masterdest="made", maxsize=None),
    steps.FileDownload(mastersrc="given", workerdest="given"),
    steps.ShellCommand(name="check", command="sha256sum given"),
    steps.ShellCommand(name="lines", command=["python3", "-c", {SAY_LINES!r}]),
])
"""
STEPS = ("upload", "download", "lines")

Fault = Callable[[Lab, BuildMaster], None]


def restart_libvirtd(lab: Lab, _master: BuildMaster) -> None:
    lab.sandbox.restart()


def kill_libvirtd(lab: Lab, _master: BuildMaster) -> None:
    lab.sandbox.kill()
    lab.sandbox.restart()


def stop_libvirtd(lab: Lab, _master: BuildMaster) -> None:
    lab.sandbox.suspend()
    time.sleep(AWAY)
    lab.sandbox.resume()


def pause_vm(lab: Lab, _master: BuildMaster) -> None:
    with lab.connection() as connection:
        (domain,) = connection.listAllDomains()
        domain.suspend()
        time.sleep(AWAY)
        domain.resume()


def stop_master(_lab: Lab, master: BuildMaster) -> None:
    os.kill(master.pid, signal.SIGSTOP)
    time.sleep(AWAY)
    os.kill(master.pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def here(
    tmp_path_factory: pytest.TempPathFactory, cache: Path, image: LocalImage
) -> Iterator[tuple[Lab, BuildMaster]]:
    """Give a hypervisor and a master whose guests have no network."""
    directory = tmp_path_factory.mktemp("channel")
    with lab_module.running(directory / "lab", cache=cache) as lab:
        lab.publish(image)
        home = directory / "master"
        home.mkdir()
        settings = PoolSettings(network="none", connection="channel", start="resume")
        write_pool(home, lab.uri, settings)
        (home / "given").write_bytes(random.Random(14).randbytes(SIZE))
        with buildmaster.running(home, master_cfg(FACTORY)) as master:
            yield lab, master


@pytest.mark.parametrize(
    "fault",
    [restart_libvirtd, kill_libvirtd, stop_libvirtd, pause_vm, stop_master],
    ids=lambda f: f.__name__,
)
def test_the_build_goes_on_with_the_same_bytes(here: tuple[Lab, BuildMaster], fault: Fault) -> None:
    lab, master = here
    request = master.force()
    build = master.wait_for_build(request)
    for step in STEPS:
        wait_for(f"the middle of {step}", partial(_is_in_the_middle, master, build, step))
        fault(lab, master)

    assert master.wait_for_result(request) == "SUCCESS", master.log[-5000:]
    assert master.results(request) == ["SUCCESS"]
    texts = {step: _text(master, build, step) for step in ("make", "check", "lines")}
    made = (master.directory / "made").read_bytes()
    given = (master.directory / "given").read_bytes()
    assert hashlib.sha256(made).hexdigest() in texts["make"]
    assert hashlib.sha256(given).hexdigest() in texts["check"]
    numbers = [line for line in texts["lines"].splitlines() if line.isdigit()]
    assert numbers == [str(number) for number in range(1, LINES + 1)]


def _steps(master: BuildMaster, build: dict[str, Any], name: str) -> list[dict[str, Any]]:
    steps = master.get(f"builds/{build['buildid']}/steps")
    return [step for step in steps if step["name"] == name and step["started_at"]]


def _is_in_the_middle(master: BuildMaster, build: dict[str, Any], name: str) -> bool:
    steps = [step for step in _steps(master, build, name) if not step["complete"]]
    if name != "lines":
        return bool(steps)
    logs = [log for step in steps for log in master.get(f"steps/{step['stepid']}/logs")]
    return any(0 < log["num_lines"] < LINES for log in logs)


def _text(master: BuildMaster, build: dict[str, Any], name: str) -> str:
    (step,) = _steps(master, build, name)
    (log,) = [log for log in master.get(f"steps/{step['stepid']}/logs") if log["name"] == "stdio"]
    return master.raw(f"logs/{log['logid']}/raw")
