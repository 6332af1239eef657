# SPDX-License-Identifier: GPL-2.0-only
"""Trivial builds a minute with one interface master and with two; and the web UI in the meantime.

Jobs wait before the interface masters start, so that only masters bound the rate. Workers are in
the masters' own processes: there is no VM, and a build is one command that does nothing. The list
of builds is read in a run of its own, since answering costs a core as well.

Two masters at full speed want more than two cores. ``--slowed`` lets each interface master run half
of the time, so that a small machine shows what two are to one where there are cores enough.
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

import installation as installation_module
from buildmaster import wait_for
from installation import Installation, Master
from latent_libvirt.sandbox.postgresql import PrivatePostgreSQL
from latent_libvirt.sandbox.router import PrivateRouter

CACHE: Final = Path(__file__).resolve().parents[1] / ".cache"
NOTHING: Final = '[steps.ShellCommand(name="nothing", command=["true"])]'
WORKERS: Final = 8  # of each master
PAGE: Final = "builds?order=-buildid&limit=50&property=owners"  # what the web UI's lists ask
READ_EVERY: Final = 0.5  # seconds
SLICE: Final = 0.003  # seconds that a slowed master runs, and then does not
TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Run:
    """What one run has come to.

    :param per_minute: builds.
    :param busy: cores that the whole machine used in the meantime.
    :param of_a_master: cores that the busiest interface master used.
    """

    per_minute: float
    busy: float
    of_a_master: float


@click.command(help=__doc__)
@click.option("--jobs", default=300, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--slowed", is_flag=True, help="Let each interface master run half of the time.")
def main(*, jobs: int, rounds: int, slowed: bool) -> None:
    """Measure, and print a line of JSON."""
    runs: dict[int, list[Run]] = {1: [], 2: []}
    with a_bench(slowed=slowed) as bench:
        for masters in (1, 2) * rounds:
            run = bench.measure(masters, jobs)
            runs[masters].append(run)
            print(f"{masters} interface masters: {run}", flush=True)
        reader = Reader()
        bench.measure(2, jobs, reader)
    print(json.dumps(report(runs, reader.answers)))


@dataclass(frozen=True)
class Bench:
    """A database and a router; each run has a database of its own there.

    :param slowed: whether interface masters run half of the time.
    """

    work: Path
    postgresql: PrivatePostgreSQL
    router: PrivateRouter
    template: Path
    slowed: bool

    def measure(self, masters: int, jobs: int, reader: Reader | None = None) -> Run:
        """Run so many jobs through so many interface masters, while somebody may read."""
        directory = Path(tempfile.mkdtemp(dir=self.work))
        with installation_module.running(
            directory, self.postgresql, self.router, self.template
        ) as installation:
            scheduler = installation.scheduler()
            interfaces = prepare(installation, scheduler, masters, jobs)
            with reader.of(scheduler) if reader else ExitStack():
                installation.start(*interfaces)
                with slow(interfaces) if self.slowed else ExitStack():
                    return watch(installation, interfaces, jobs)


@contextmanager
def a_bench(*, slowed: bool) -> Iterator[Bench]:
    """Give a bench, for a ``with`` block."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=CACHE) as name,
        PrivatePostgreSQL(Path(name) / "postgresql") as postgresql,
        PrivateRouter(Path(name) / "router", environment=CACHE / "crossbar-venv") as router,
    ):
        work = Path(name)
        template = installation_module.make_template(postgresql, work)
        yield Bench(work, postgresql, router, template, slowed)


def prepare(installation: Installation, scheduler: Master, masters: int, jobs: int) -> list[Master]:
    """Return so many interface masters, which do not run yet; so many jobs wait for them."""
    interfaces = [
        installation.interface(f"interface-{number}", workers=WORKERS, steps=NOTHING)
        for number in range(masters)
    ]
    installation.start(scheduler, *interfaces)  # so that the builder is known
    for master in interfaces:
        master.stop()
    for _ in range(jobs):
        scheduler.force()
    return interfaces


def watch(installation: Installation, interfaces: list[Master], jobs: int) -> Run:
    """Wait until so many jobs are done; return how fast that was from now on."""
    before, busy_before = [used(master.pid) for master in interfaces], busy()
    began = time.monotonic()
    done_before = completed(installation)
    wait_for("all jobs", lambda: completed(installation) == jobs)
    took = time.monotonic() - began
    of_masters = [used(m.pid) - b for m, b in zip(interfaces, before, strict=True)]
    return Run(
        round(60 * (jobs - done_before) / took),
        round((busy() - busy_before) / took, 2),
        round(max(of_masters) / took, 2),
    )


@contextmanager
def slow(masters: list[Master]) -> Iterator[None]:
    """Let masters run half of the time, for a ``with`` block."""
    stop = threading.Event()
    threads = [threading.Thread(target=brake, args=(master, stop)) for master in masters]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def brake(master: Master, stop: threading.Event) -> None:
    """Stop a master for a moment, again and again."""
    while not stop.wait(SLICE):
        master.freeze()
        stop.wait(SLICE)
        master.thaw()


def used(pid: int) -> float:
    """Return the seconds of a core that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def busy() -> float:
    """Return the seconds of a core that the machine has used."""
    user, nice, system, _idle, _wait, *interrupts = Path("/proc/stat").read_text().split()[1:9]
    return sum(map(int, (user, nice, system, *interrupts))) / TICKS


def completed(installation: Installation) -> int:
    """Return how many jobs have their result."""
    ((number,),) = installation.query("SELECT count(*) FROM buildrequests WHERE complete = 1")
    return int(number)


class Reader:
    """Somebody who reads the list of builds, over and over."""

    def __init__(self) -> None:
        self.answers: list[float] = []
        self._stop = threading.Event()

    @contextmanager
    def of(self, master: Master) -> Iterator[None]:
        """Read it from this master, for a ``with`` block."""
        url = f"http://127.0.0.1:{master.web_port}/api/v2/{PAGE}"
        thread = threading.Thread(target=self._read, args=(url,))
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _read(self, url: str) -> None:
        while not self._stop.wait(READ_EVERY):
            began = time.monotonic()
            # An answer may break off on a busy machine; the next one is as good.
            with suppress(http.client.IncompleteRead):
                read(url)
            self.answers.append(time.monotonic() - began)


def read(url: str) -> None:
    """Read a page to its end."""
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310
        answer.read()


def report(runs: dict[int, list[Run]], answers: list[float]) -> dict[str, float | int | None]:
    """Return the figures that count: medians."""
    quantiles = statistics.quantiles(answers, n=100)
    one, two = (statistics.median(run.per_minute for run in runs[each]) for each in (1, 2))
    return {
        "one_per_min": one,
        "two_per_min": two,
        "ratio": round(two / one, 2),
        "busy_cores_one": statistics.median(run.busy for run in runs[1]),
        "busy_cores_two": statistics.median(run.busy for run in runs[2]),
        "web_p50_ms": round(1000 * quantiles[49]),
        "web_p99_ms": round(1000 * quantiles[98]),
        "cores": os.cpu_count(),
    }


if __name__ == "__main__":
    main()
