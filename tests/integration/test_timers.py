# SPDX-License-Identifier: GPL-2.0-only
"""Timers of a real process whose clock is set while it runs (libfaketime)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))

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
    assert LIBRARIES, "bootstrap brings libfaketime"
    clock = directory / "clock"
    clock.write_text("+0")
    faked = {
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    command = [sys.executable, "-c", SCRIPT, str(clock), step, "follows" if follows else "does not"]
    done = subprocess.run(
        command,
        env=dict(os.environ) | faked,
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
        ("-3600", "the clock was set back by 3600 s; timers go by the time that passes"),
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
