# SPDX-License-Identifier: GPL-2.0-only
"""A burst of short builds: jobs per minute of the pool and of Buildbot's own LibVirtWorker.

All ways use the same libvirtd, image, hardware, direct boot and number of VMs, in turn, in one run.
A build is one step: a shell that says whether it finds the mark of another build on
its disk, and leaves its own. Prints a table, and a line of JSON; progress goes to stderr.

    make bench-burst JOBS=40 VMS=4
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import buildmaster
from buildmaster import RESULTS, BuildMaster
from commands import status
from fixture import image, lab_with_image
from lab import Lab
from observer import Observer, Seen
from pools import PoolSettings, master_cfg, write_pool
from start import start_seconds
from upstream import Upstream, make_base_image

POLL = 0.25
"""Seconds between two questions whether builds have finished."""

WAYS = {
    "upstream": "LibVirtWorker, a VM per build",
    "upstream-kept": "LibVirtWorker, VMs kept",
    "pool": "latent_libvirt, cold",
    "pool-spares": "latent_libvirt, cold, spares",
    "pool-resume": "latent_libvirt, resumed",
    "pool-resume-spares": "latent_libvirt, resumed, spares",
}

FACTORY = """
look = "test ! -e ~/mark; found=$?; touch ~/mark; sync; exit $((found * 3))"
results = {0: util.SUCCESS, 3: util.WARNINGS}
step = steps.ShellCommand(name="true", command=look, decodeRC=results, warnOnWarnings=True)
factory = util.BuildFactory([step])
"""
CLEAN, USED = "SUCCESS", "WARNINGS"


@dataclass(frozen=True)
class Options:
    """What is measured.

    :param vms: how many there may be at once.
    :param spares: of the label, where spares are used.
    :param deadline: seconds that a burst may take.
    :param ways: their names.
    :param plot: where to draw the starts, if anywhere.
    """

    jobs: int
    vms: int
    spares: int
    deadline: float
    rounds: int
    ways: list[str]
    plot: Path | None


@dataclass(frozen=True)
class Figures:
    """What came of a burst.

    :param per_minute: finished jobs, by the time from the first request to the last end.
    :param first: seconds from a job's request to its end, of the job for which that was shortest;
        ``median``, ``ninetieth`` (percentile) and ``last`` are of the same.
    :param clean: builds that ran on a disk which no other build had used.
    :param used: builds that did not.
    :param other: the results of all other builds.
    :param unfinished: jobs that had not finished at the deadline.
    :param left: domains and disks that there were after the master's end.
    :param load: of the machine, over the minute before.
    :param starts: seconds from ``start_instance`` to a worker that is attached, by how the VM came
        up; of the pool only.
    """

    jobs: int
    seconds: float
    per_minute: float
    first: float
    median: float
    ninetieth: float
    last: float
    clean: int
    used: int
    other: dict[str, int]
    unfinished: int
    left: int
    cap: int
    seen: Seen
    load: float
    starts: dict[str, list[float]]


class DeadlineError(Exception):
    """Nothing can be said of a way: it has not brought a single job to its end."""


class Way(Protocol):
    """A way to run builds in VMs; *left* is what there was of VMs after its master's end."""

    left: list[str]

    def running(self, directory: Path, factory: str) -> AbstractContextManager[BuildMaster]:
        """Run a master for the length of a ``with`` block."""


class OurPool:
    """A master with a pool, which is at rest when the burst begins."""

    def __init__(self, lab: Lab, *, vms: int, spares: int, start: str = "boot") -> None:
        self._lab = lab
        self._spares = spares
        self._settings = PoolSettings(
            start=start,
            max_vms=vms,
            slots=vms,
            label_max_vms=vms,
            max_starting=vms,
            label_keys=f"spares: {spares}",
        )
        self.left: list[str] = []

    @contextmanager
    def running(self, directory: Path, factory: str) -> Iterator[BuildMaster]:
        """Run a master for the length of a ``with`` block."""
        directory.mkdir()
        # Slots are saved before spares take them: one that boots beside another is not saved.
        write_pool(directory, self._lab.uri, replace(self._settings, label_keys=""))
        with buildmaster.running(directory, master_cfg(factory)) as master:
            try:
                self._get_ready(master)
                yield master
            finally:
                write_pool(directory, self._lab.uri, PoolSettings())
                buildmaster.wait_for("all VMs to end", lambda: not self._lab.leftovers())
        self.left = self._lab.leftovers()
        # The next master has another owner, and saves no slots where others have volumes.
        self._lab.delete_saved()

    def _get_ready(self, master: BuildMaster) -> None:
        if self._settings.start == "resume":
            buildmaster.wait_for("all slots to be saved", partial(self._is_saved, master))
        write_pool(master.directory, self._lab.uri, self._settings)
        buildmaster.wait_for("the spares to wait", self._at_rest)

    def _is_saved(self, master: BuildMaster) -> bool:
        (host,) = status(master)["hosts"]
        return len(host["saved"]) >= host["slots"]

    def _at_rest(self) -> bool:
        """Tell whether there are all the spares, and none has anything to do."""
        before = self._cpu_seconds()
        time.sleep(4)
        after = self._cpu_seconds()
        busy = any(after[vm] - before.get(vm, 0) > 0.2 for vm in after)  # noqa: PLR2004
        return len(after) == self._spares and not busy

    def _cpu_seconds(self) -> dict[str, float]:
        with self._lab.connection() as connection:
            return {d.UUIDString(): d.info()[4] / 1e9 for d in connection.listAllDomains()}


class Burst:
    """Jobs that are asked for at once, and when they end."""

    def __init__(self, master: BuildMaster, jobs: int) -> None:
        self._master = master
        self._jobs = jobs
        self._asked: dict[int, float] = {}
        self._ended: dict[int, float] = {}

    def run(self, deadline: float) -> None:
        """Ask for all jobs; return when they have ended, or after *deadline* seconds."""
        give_up_at = time.monotonic() + deadline
        for _ in range(self._jobs):
            asked = time.monotonic()
            self._asked[self._master.force()] = asked
        while self.unfinished and time.monotonic() < give_up_at:
            time.sleep(POLL)
            with suppress(OSError):  # a master that has too much to do is asked again
                self._look()

    def _look(self) -> None:
        done = self._master.get("buildrequests?complete=true")
        now = time.monotonic()
        for request in {row["buildrequestid"] for row in done} - self._ended.keys():
            self._ended[request] = now
            say(f"{len(self._ended)} of {self._jobs} jobs after {self.seconds:.0f} s")

    @property
    def unfinished(self) -> int:
        """How many jobs have not ended."""
        return self._jobs - len(self._ended)

    @property
    def seconds(self) -> float:
        """From the first request to the last end."""
        return max(self._ended.values()) - min(self._asked.values())

    def waits(self) -> list[float]:
        """Return the seconds that the finished jobs took from request to end, in order."""
        return sorted(end - self._asked[request] for request, end in self._ended.items())

    def results(self) -> Counter[str]:
        """Return how many builds ended in which way."""
        codes = [build["results"] for build in self._master.get("builds")]
        return Counter("running" if code is None else RESULTS[code] for code in codes)


def measure(lab: Lab, way: Way, directory: Path, options: Options) -> Figures:
    """Run a burst in that way."""
    load = os.getloadavg()[0]
    with way.running(directory, FACTORY) as master:
        burst = Burst(master, options.jobs)
        with Observer(lab.uri, directory / "seen") as observer:
            burst.run(options.deadline)
        results = burst.results()
        if burst.unfinished:
            say(f"{burst.unfinished} jobs have not ended; the master's log ends with")
            say(master.log[-5000:])
    waits = burst.waits()
    if not waits:
        raise DeadlineError(f"no job ended within {options.deadline:g} s: {dict(results)}")
    return Figures(
        jobs=options.jobs,
        seconds=burst.seconds,
        per_minute=(options.jobs - burst.unfinished) * 60 / burst.seconds,
        first=waits[0],
        median=statistics.median(waits),
        ninetieth=waits[math.ceil(0.9 * len(waits)) - 1],
        last=waits[-1],
        clean=results.pop(CLEAN, 0),
        used=results.pop(USED, 0),
        other=dict(results),
        unfinished=burst.unfinished,
        left=len(way.left),
        cap=options.vms,
        seen=observer.seen(),
        load=load,
        starts=starts(directory),
    )


def starts(directory: Path) -> dict[str, list[float]]:
    """Return what the master in *directory* has written down of the starts of its VMs."""
    found: dict[str, list[float]] = {}
    path = directory / "leases.jsonl"
    for line in path.read_text().splitlines() if path.exists() else ():
        lease = json.loads(line)
        found.setdefault(lease["way"], []).append(start_seconds(lease["phases"]))
    return found


def plot(path: Path, found: dict[str, list[float]]) -> None:
    """Draw how long starts took, by how the VM came up."""
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("svg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    figure, axes = plt.subplots(figsize=(8, 4))
    for way, seconds in sorted(found.items()):
        ordered = sorted(seconds)
        shares = [100 * (number + 1) / len(ordered) for number in range(len(ordered))]
        axes.step(ordered, shares, where="post", label=f"{way} ({len(ordered)})")
    axes.set(xscale="log", xlabel="seconds until the worker is attached", ylabel="% of all starts")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)


def all_starts(found: dict[str, list[Figures]]) -> dict[str, list[float]]:
    """Return the starts of all ways and rounds."""
    merged: dict[str, list[float]] = {}
    for figures in (one for rounds in found.values() for one in rounds):
        for way, seconds in figures.starts.items():
            merged.setdefault(way, []).extend(seconds)
    return merged


def make_ways(lab: Lab, directory: Path, options: Options) -> dict[str, Way]:
    """Return the ways by name, ready to be used."""
    base, vms = directory / "base_image", options.vms
    if any(name.startswith("upstream") for name in options.ways):
        say("making the base image for LibVirtWorker")
        make_base_image(image(), base)
    ways: dict[str, Way] = {
        "upstream": Upstream(lab, base, count=vms, arguments="build_wait_timeout=0"),
        "upstream-kept": Upstream(lab, base, count=vms, arguments=""),
        "pool": OurPool(lab, vms=vms, spares=0),
        "pool-spares": OurPool(lab, vms=vms, spares=options.spares),
        "pool-resume": OurPool(lab, vms=vms, spares=0, start="resume"),
        "pool-resume-spares": OurPool(lab, vms=vms, spares=options.spares, start="resume"),
    }
    return {name: ways[name] for name in options.ways}


def say(what: str) -> None:
    """Tell anyone who waits how far it is."""
    print(what, file=sys.stderr, flush=True)


HEADINGS = "jobs/min  to first    median      90 %      last  clean  used  peak/cap"


def row(figures: Figures) -> str:
    """Return the figures in a line, below :data:`HEADINGS`."""
    waits = (figures.first, figures.median, figures.ninetieth, figures.last)
    return (
        f"{figures.per_minute:8.2f}"
        + "".join(f"{seconds:10.1f}" for seconds in waits)
        + f"{figures.clean:7}{figures.used:6}{figures.seen.peak:8}/{figures.cap}"
        + "".join(f"  {count} {result}" for result, count in figures.other.items())
        + (f"  {figures.unfinished} jobs unfinished" if figures.unfinished else "")
        + (f"  left behind: {figures.left}" if figures.left else "")
    )


def measure_all(options: Options) -> dict[str, list[Figures]]:
    """Return the figures of each way, of all rounds in which it did not fail."""
    found: dict[str, list[Figures]] = {name: [] for name in options.ways}
    with lab_with_image() as (lab, directory):
        ways = make_ways(lab, directory, options)
        for number, (name, way) in enumerate(list(ways.items()) * options.rounds):
            say(f"{WAYS[name]}:")
            try:
                found[name].append(measure(lab, way, directory / f"{name}-{number}", options))
            except Exception:  # noqa: BLE001 - whatever it is, the other ways are to be measured
                say(traceback.format_exc())
    return found


def main() -> None:
    """Measure, and print what was found: of each way, the round with the median jobs per minute."""
    options = arguments()
    found = measure_all(options)
    width = max(map(len, WAYS.values()))
    print(f"{'':{width}} {HEADINGS}")
    for name, rounds in found.items():
        rounds.sort(key=lambda figures: figures.per_minute)
        line = row(rounds[(len(rounds) - 1) // 2]) if rounds else "failed, see above"
        print(f"{WAYS[name]:{width}} {line}")
    print(json.dumps({name: [asdict(one) for one in rounds] for name, rounds in found.items()}))
    if options.plot is not None:
        plot(options.plot, all_starts(found))
    sys.exit(any(len(rounds) < options.rounds for rounds in found.values()))


def arguments() -> Options:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--vms", type=int, default=4, help="how many there may be at once")
    parser.add_argument("--spares", type=int, help="of the label; as many as VMs, if not given")
    parser.add_argument("--deadline", type=float, default=1800, help="seconds for each way")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--plot", type=Path, help="where to draw how long starts took (SVG)")
    given = parser.parse_args()
    given.spares = given.vms if given.spares is None else given.spares
    return Options(**vars(given))


if __name__ == "__main__":
    main()
