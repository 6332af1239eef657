# SPDX-License-Identifier: GPL-2.0-only
"""Timers of real processes, masters among them, whose clock is set while they run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from buildmaster import BuildMaster, wait_for
from job_masters import JobMaster
from pools import WORKERS_OF_THE_POOL, master_cfg
from receiver import Receiver
from set_clock import BACK, SAID_BACK, SetClock

POOL = """
master: {{max_vms: {max_vms}, address: 127.0.0.1}}
hosts: {{here: {{uri: "test:///default", slots: 1, storage_pool: default-pool}}}}
labels: {{debian-12: {{image: debian-12}}}}
"""

SCRIPT = """
import json, sys, time
from pathlib import Path
from twisted.internet import reactor, task
from twisted.logger import globalLogBeginner, formatEvent
from latent_libvirt import timers

clock, step, follows = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "follows"
logged = []
globalLogBeginner.beginLoggingTo(
    [lambda event: logged.append(formatEvent(event))], redirectStandardIO=False
)
if follows:
    timers.install(reactor)
began, said = time.monotonic(), time.time()
told = {"early": 0, "due": 0.0}


def look():
    told["early"] += 1


def set_clock():
    clock.write_text(step)


def due():
    told["due"] = time.monotonic() - began
    told["clock"] = time.time() - said
    end()


def end():
    if reactor.running:
        reactor.stop()


reactor.callLater(0.5, set_clock)
reactor.callLater(3, due)
reactor.callLater(1000, look)
ticks = task.LoopingCall(lambda: None)
ticks.start(0.2)
# Not a timer of the reactor: those are what is tried.
import threading
watchdog = threading.Timer(15, lambda: reactor.callFromThread(end))
watchdog.daemon = True
watchdog.start()
reactor.run()
told["logged"] = [line for line in logged if "clock was set" in line]
print(json.dumps(told))
"""


def run(directory: Path, step: str, *, follows: bool) -> dict[str, object]:
    """Return what became of timers in a process whose clock is set by *step* seconds."""
    file = directory / "clock"
    clock = SetClock(file)
    command = [sys.executable, "-c", SCRIPT, str(file), step, "follows" if follows else "does not"]
    done = subprocess.run(
        command,
        env=dict(os.environ) | clock.environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    told: dict[str, object] = json.loads(done.stdout)
    return told


def test_the_clock_of_the_test_is_really_set(tmp_path: Path) -> None:
    """Without what is tried, a deadline is over as soon as the clock is set forward."""
    told = run(tmp_path, "+3600", follows=False)

    assert told["early"] == 1
    assert isinstance(told["due"], float)
    assert told["due"] < 2.9


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("+3600", "the clock was set forward by 3600 s; timers go by the time that passes"),
        (BACK, SAID_BACK),
    ],
)
def test_timers_go_by_the_time_that_passes_and_the_step_is_logged_once(
    tmp_path: Path, step: str, said: str
) -> None:
    told = run(tmp_path, step, follows=True)

    assert told["early"] == 0
    assert isinstance(told["due"], float)
    assert 2.9 < told["due"] < 14
    assert isinstance(told["clock"], float)
    assert abs(told["clock"] - float(step)) < 20
    assert told["logged"] == [said]


@pytest.fixture
def clock(tmp_path: Path) -> SetClock:
    """Give a clock for a master; it is right."""
    return SetClock(tmp_path / "clock")


@contextmanager
def started(master: BuildMaster, clock: SetClock) -> Iterator[None]:
    """Run a master that goes by *clock* for the length of a ``with`` block."""
    master.enter = clock.enter
    master.start()
    try:
        yield
    finally:
        master.stop()
        clock.forget(master.pid)


def test_a_pool_goes_on_when_the_clock_is_set_back(tmp_path: Path, clock: SetClock) -> None:
    factory = "factory = util.BuildFactory()"
    master = BuildMaster(tmp_path / "master", master_cfg(factory, workers=WORKERS_OF_THE_POOL))
    pool_yaml = master.directory / "pool.yaml"
    pool_yaml.write_text(POOL.format(max_vms=1))
    with started(master, clock):
        clock.set(BACK)
        wait_for("the step to be noticed", lambda: SAID_BACK in master.log)
        pool_yaml.write_text(POOL.format(max_vms=2))

        wait_for("the file to be read", lambda: "max_vms 1 → 2" in master.log)


def test_a_master_without_a_pool_tells_results_in_time_when_the_clock_is_set_back(
    tmp_path: Path, clock: SetClock
) -> None:
    master = JobMaster(tmp_path / "master", job_api="callback_hosts=['127.0.0.1']")
    with Receiver() as receiver, started(master, clock):
        receiver.failures = 1_000
        uuid = master.post(builder="check", callback_url=receiver.url).document["uuid"]
        wait_for("the first try", lambda: master.job(uuid)["callback"]["tries"])

        clock.set(BACK)
        wait_for("the step to be noticed", lambda: SAID_BACK in master.log)
        receiver.failures = 0

        assert master.wait_until_told(uuid)["callback"]["tries"] > 1
        assert {told.id for told in receiver.received} == {uuid}
