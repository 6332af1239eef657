# SPDX-License-Identifier: GPL-2.0-only
"""Seconds from saving ``pool.yaml`` with a larger cap to what comes of it, through a real master.

In each round a job has the only VM that the cap allows, and another waits. The cap is raised from
1 to 2, and what is told is when the running pool says so itself, and when the second VM exists.
Rounds begin at random moments: how long it takes depends on when the file is looked at. Prints
medians and the longest, and a line of JSON.

    make bench-live-edit ROUNDS=20
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import libvirt

import buildmaster
from buildmaster import BuildMaster
from fixture import lab_with_image
from lab import Lab
from latent_libvirt.control.client import Client
from latent_libvirt.control.messages import StatusRequest
from latent_libvirt.status.pool import PoolStatus
from pools import PoolSettings, master_cfg, write_pool

FACTORY = "factory = util.BuildFactory([steps.ShellCommand(command=['sleep', '1000'])])"
POLL = 0.01
"""Seconds between two looks: the resolution of the figures."""
DEADLINE = 60.0


class Editor:
    """Saves caps, and notices what comes of them."""

    def __init__(self, lab: Lab, master: BuildMaster, connection: libvirt.virConnect) -> None:
        self._lab = lab
        self._master = master
        self._connection = connection

    def round(self) -> dict[str, float]:
        """Raise the cap once; return the seconds until it was applied, and until it was used."""
        jobs = [self._master.force(), self._master.force()]
        _wait(lambda: self._vms() == 1)
        time.sleep(random.uniform(1, 2))  # noqa: S311
        began = time.monotonic()
        self.save(2)
        found = {"applied": self._seconds(lambda: self._cap() == 2, began)}  # noqa: PLR2004
        found["second VM"] = self._seconds(lambda: self._vms() == 2, began)  # noqa: PLR2004
        self._tidy_up(jobs)
        return found

    def save(self, cap: int) -> None:
        """Save the file with that cap."""
        settings = PoolSettings(max_vms=cap, label_max_vms=2)
        write_pool(self._master.directory, self._lab.uri, settings)

    def _seconds(self, condition: Callable[[], bool], began: float) -> float:
        _wait(condition)
        return time.monotonic() - began

    def _tidy_up(self, jobs: list[int]) -> None:
        self.save(1)
        _wait(lambda: self._cap() == 1)
        for job in jobs:
            self._master.cancel(self._master.wait_for_build(job))
            self._master.wait_for_result(job)
        buildmaster.wait_for("the VMs to go", lambda: not self._lab.leftovers())

    def _vms(self) -> int:
        return len(self._connection.listAllDomains())

    def _cap(self) -> int:
        with Client(self._master.directory) as client:
            return client.ask(StatusRequest(), PoolStatus).max_vms


def _wait(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < give_up_at, "waited in vain"
        time.sleep(POLL)


def measure(lab: Lab, directory: Path, rounds: int) -> list[dict[str, float]]:
    """Return what each round found."""
    directory.mkdir()
    write_pool(directory, lab.uri, PoolSettings(max_vms=1, label_max_vms=2))
    with (
        buildmaster.running(directory, master_cfg(FACTORY)) as master,
        lab.connection() as connection,
    ):
        editor = Editor(lab, master, connection)
        return [editor.round() for _ in range(rounds)]


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=20)
    with lab_with_image() as (lab, directory):
        found = measure(lab, directory / "master", parser.parse_args().rounds)
    figures = {}
    for key in found[0]:
        seconds = sorted(one[key] for one in found)
        figures[key] = {"median": statistics.median(seconds), "longest": seconds[-1]}
        print(f"{key:10} median {figures[key]['median']:.3f} s, longest {seconds[-1]:.3f} s")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
