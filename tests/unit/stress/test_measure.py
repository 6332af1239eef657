# SPDX-License-Identifier: GPL-2.0-only
"""Measurements of processes and of the event loop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.stress.in_master.reactor_delay import INTERVAL, ReactorDelay
from latent_libvirt.stress.measure.processes import (
    MACHINE,
    ProcessWatch,
    all_pids,
    named,
    tree_usage,
)
from latent_libvirt.stress.measure.raw import Row, make, rows
from latent_libvirt.stress.measure.sampling import MeasurementError, sampling

BUSY = """
import time
while time.process_time() < 0.2:
    pass
print(flush=True)
input()
"""


def test_what_a_child_uses_counts_as_its_parents() -> None:
    command = ["sh", "-c", '"$0" -c "$1"; true', sys.executable, BUSY]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        usage = tree_usage(process.pid)
        process.stdin.close()

    assert usage.cpu >= 0.1
    assert usage.memory > 2**20


def test_a_process_that_is_gone_uses_nothing() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()

    assert tree_usage(process.pid).memory == 0


def test_this_process_and_the_machine_are_part_of_each_sample() -> None:
    watch = ProcessWatch({"parent": os.getppid()}, "harness")
    assert watch.sample() == []
    ends = time.process_time() + 0.2
    while time.process_time() < ends:
        pass

    found = {row["process"]: row for row in watch.sample()}

    assert found.keys() == {"parent", "harness", MACHINE}
    assert found["harness"]["cores"] > 0
    assert found["harness"]["memory"] > 2**20


def test_a_process_can_be_added_while_samples_are_taken(tmp_path: Path) -> None:
    watch = ProcessWatch({}, "harness")

    with sampling(watch.sample, tmp_path / "rows.jsonl", every=0.0001) as check:
        for number in range(300):
            watch.add(f"part {number}", os.getpid())
            check()


def test_samples_are_written(tmp_path: Path) -> None:
    written: list[Row] = []

    def sample() -> list[Row]:
        written.append({"number": len(written)})
        return written[-1:]

    with sampling(sample, tmp_path / "rows.jsonl", every=0.01) as check:
        while len(written) < 3:
            check()

    assert rows(tmp_path / "rows.jsonl") == written


def test_a_measurement_that_fails_is_reported(tmp_path: Path) -> None:
    def sample() -> list[Row]:
        raise OSError("no such thing")

    def until_it_raises() -> None:
        while True:
            check()

    with (
        sampling(sample, tmp_path / "rows.jsonl", every=0.01) as check,
        pytest.raises(MeasurementError, match="rows cannot be measured"),
    ):
        until_it_raises()


def test_an_event_loop_that_was_held_is_seen() -> None:
    clock, lines = Clock(), list[str]()
    ReactorDelay(lines.append, clock).start()

    for _ in range(10):
        clock.advance(INTERVAL)
    clock.advance(INTERVAL + 0.7)

    (line,) = map(json.loads, lines)
    assert line["max"] == pytest.approx(0.7)
    assert line["mean"] == pytest.approx(0.7 / 11, abs=1e-6)


def test_processes_that_come_and_go_keep_what_they_have_used() -> None:
    found: list[int] = []
    watch = ProcessWatch({}, "harness")
    watch.add_set("qemu", lambda: found)
    watch.sample()
    with subprocess.Popen(
        [sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found.append(process.pid)
        (busy,) = (row for row in watch.sample() if row["process"] == "qemu")
        process.communicate()
    found.clear()
    (gone,) = (row for row in watch.sample() if row["process"] == "qemu")

    assert busy["cores"] > 0
    assert busy["memory"] > 2**20
    assert (gone["cores"], gone["memory"]) == (0.0, 0)


def test_a_program_is_found_by_its_name_and_arguments() -> None:
    command = [sys.executable, "-c", "input()", "guest=latent-libvirt-7"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as process:
        name = Path(f"/proc/{process.pid}/comm").read_text().strip()
        deadline = time.monotonic() + 60
        while not (found := named(name, all_pids(), "latent-libvirt-7")):
            assert time.monotonic() < deadline
        process.communicate("")

    assert found == [process.pid]
    assert named("qemu", [os.getpid()]) == []


def test_two_runs_do_not_share_a_report(tmp_path: Path) -> None:
    make(tmp_path / "report/raw")

    with pytest.raises(ConfigurationError, match="another run writes its report"):
        make(tmp_path / "report/raw")
