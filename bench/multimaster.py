# SPDX-License-Identifier: GPL-2.0-only
"""Trivial builds a minute with one interface master and with two, and the web UI meanwhile.

Jobs wait before the interface masters start, so that only masters bound the rate. Workers are in
the masters' own processes: there is no VM, and a build is one command that does nothing.
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
from contextlib import suppress
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
WORKERS: Final = 4  # of each master
PAGE: Final = "builds?order=-buildid&limit=50&property=owners"  # what the web UI's lists ask


@click.command(help=__doc__)
@click.option("--jobs", default=300, show_default=True)
def main(*, jobs: int) -> None:
    """Measure, and print a line of JSON."""
    rates: dict[int, float] = {}
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=CACHE) as work,
        PrivatePostgreSQL(Path(work) / "postgresql") as postgresql,
        PrivateRouter(Path(work) / "router", environment=CACHE / "crossbar-venv") as router,
    ):
        template = installation_module.make_template(postgresql, Path(work))
        for masters in (1, 2):
            directory = Path(work) / f"{masters}"
            with installation_module.running(directory, postgresql, router, template) as running:
                rates[masters], answers = measure(running, masters, jobs)
            print(f"{masters} interface masters: {rates[masters]:.0f} builds/min", flush=True)
    print(json.dumps(report(rates, answers)))


def measure(installation: Installation, masters: int, jobs: int) -> tuple[float, list[float]]:
    """Return builds a minute, and how long the list of builds took each time, in seconds."""
    scheduler = installation.scheduler()
    interfaces = [
        installation.interface(f"interface-{number}", workers=WORKERS, steps=NOTHING)
        for number in range(masters)
    ]
    installation.start(scheduler, *interfaces)  # so that the builder is known
    for master in interfaces:
        master.stop()
    for _ in range(jobs):
        scheduler.force()
    with Reader(scheduler) as reader:
        installation.start(*interfaces)
        wait_for("all jobs", lambda: completed(installation) == jobs)
    ((first, last),) = installation.query("SELECT min(started_at), max(complete_at) FROM builds")
    return 60 * jobs / (last - first), reader.answers


def completed(installation: Installation) -> int:
    """Return how many jobs have their result."""
    ((number,),) = installation.query("SELECT count(*) FROM buildrequests WHERE complete = 1")
    return int(number)


class Reader:
    """Somebody who reads the list of builds, over and over, for a ``with`` block."""

    def __init__(self, master: Master) -> None:
        self._url = f"http://127.0.0.1:{master.web_port}/api/v2/{PAGE}"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self.answers: list[float] = []

    def __enter__(self) -> Reader:  # noqa: PYI034 - it is used once
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._stop.wait(0.05):
            began = time.monotonic()
            # An answer may break off on a busy machine; the next one is as good.
            with suppress(http.client.IncompleteRead):
                self._read_once()
            self.answers.append(time.monotonic() - began)

    def _read_once(self) -> None:
        with urllib.request.urlopen(self._url, timeout=60) as answer:  # noqa: S310
            answer.read()


def report(rates: dict[int, float], answers: list[float]) -> dict[str, float | int | None]:
    """Return the figures that count."""
    quantiles = statistics.quantiles(answers, n=100)
    return {
        "one_per_min": round(rates[1]),
        "two_per_min": round(rates[2]),
        "ratio": round(rates[2] / rates[1], 2),
        "web_p50_ms": round(1000 * quantiles[49]),
        "web_p99_ms": round(1000 * quantiles[98]),
        "cores": os.cpu_count(),
    }


if __name__ == "__main__":
    main()
