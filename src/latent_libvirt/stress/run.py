# SPDX-License-Identifier: GPL-2.0-only
"""A run: the deployment starts, jobs and readers come, everything is measured, all of it ends."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from latent_libvirt.jobs.client import Client
from latent_libvirt.stress.deployment.deployment import deployed
from latent_libvirt.stress.driver import Driver
from latent_libvirt.stress.measure.database import Database
from latent_libvirt.stress.measure.processes import ProcessWatch
from latent_libvirt.stress.measure.raw import append
from latent_libvirt.stress.measure.sampling import sampling
from latent_libvirt.stress.plan import planned_jobs
from latent_libvirt.stress.readers import engine
from latent_libvirt.stress.report.data import RAW, Run

if TYPE_CHECKING:
    from latent_libvirt.stress.deployment.deployment import Deployment
    from latent_libvirt.stress.measure.raw import Row
    from latent_libvirt.stress.profile.models import Profile

HARNESS: Final = "harness"
"""What this process is called in the figures."""

SAMPLE_EVERY: Final = 1.0
STATEMENTS_EVERY: Final = 5.0
"""Seconds between two samples of processes and queue, and of the time of statements."""

_POLL: Final = 1.0


@dataclass(frozen=True)
class _Run:
    """One run.

    :param raw: the directory of its raw data.
    :param work: a directory for the files of the deployment.
    """

    profile: Profile
    deployment: Deployment
    raw: Path
    work: Path
    say: Callable[[str], object]

    def run(self, locust: Path | None) -> None:
        """Do it, and write down what was measured."""
        database = Database(self.deployment.db_url)
        database.measure_statements()
        began = ended = time.time()
        try:
            with self._measured() as (check, watch), self._readers(locust, watch):
                began = time.time()
                self._post_and_wait(database, check)
                ended = time.time()
        finally:
            self._collect(database, began, max(ended, began + _POLL))

    def _post_and_wait(self, database: Database, check: Callable[[], None]) -> None:
        client = Client(f"{self.deployment.web_url}jobs", self.deployment.token)
        driver = Driver(client.submit, lambda row: append(self.raw / "posts.jsonl", [row]))
        give_up_at = time.monotonic() + self.profile.within
        driver.run(planned_jobs(self.profile), deadline=self.profile.within, check=check)
        self.say("All jobs are posted.")
        while self._unfinished(database) and time.monotonic() < give_up_at:
            check()
            time.sleep(_POLL)

    def _unfinished(self, database: Database) -> int:
        (row,) = database.queue()
        return int(row["unfinished"])

    @contextmanager
    def _measured(self) -> Iterator[tuple[Callable[[], None], ProcessWatch]]:
        """Measure for the length of a ``with`` block; yield a check that all goes well."""
        watch = ProcessWatch(self.deployment.pids(), HARNESS)
        with ExitStack() as stack:
            checks = [
                stack.enter_context(sampling(sample, self.raw / f"{name}.jsonl", every=every))
                for name, sample, every in self._samples(watch)
            ]

            def check() -> None:
                self.deployment.see_that_all_run()
                for each in checks:
                    each()

            yield check, watch

    def _samples(self, watch: ProcessWatch) -> list[tuple[str, Callable[[], list[Row]], float]]:
        url = self.deployment.db_url
        return [
            ("processes", watch.sample, SAMPLE_EVERY),
            ("queue", Database(url).queue, SAMPLE_EVERY),
            ("database", Database(url).time, STATEMENTS_EVERY),
        ]

    @contextmanager
    def _readers(self, locust: Path | None, watch: ProcessWatch) -> Iterator[None]:
        if locust is None:
            yield
            return
        output = self.raw / "web.jsonl"
        url = self.deployment.web_url
        readers = self.profile.readers
        with engine.reading(readers, url, program=locust, work=self.work, output=output) as process:
            watch.add(engine.NAME, process.pid)
            engine.await_first(process, output)
            yield

    def _collect(self, database: Database, began: float, ended: float) -> None:
        """Write down what is known at the end."""
        masters = self.deployment.masters
        run = Run(
            began=began,
            ended=ended,
            cores=os.cpu_count() or 1,
            slots=self.profile.deployment.all_slots,
            jobs=self.profile.jobs.count,
            masters=tuple(master.name for master in masters),
            profile=yaml.safe_dump(self.profile.model_dump(mode="json"), sort_keys=False),
        )
        (self.raw / "run.json").write_text(json.dumps(asdict(run), indent=2))
        append(self.raw / "jobs.jsonl", database.jobs())
        append(self.raw / "statements.jsonl", database.statements())
        for master in masters:
            for kind in ("reactor", "leases"):
                measured = master.directory / "measured" / f"{kind}.jsonl"
                if measured.exists():
                    shutil.copy(measured, self.raw / f"{kind}-{master.name}.jsonl")


def run(
    profile: Profile, directory: Path, *, cache: Path, say: Callable[[str], object] = print
) -> None:
    """Run a profile, and leave its raw data in *directory*.

    :param directory: of the report; must not have the data of another run.
    :param cache: keeps what takes long to install.
    :param say: receives a line about each stage.
    :raises HostError: something does not start, or ends early.
    """
    # Processes that are started have separate working directories.
    directory, cache = directory.absolute(), cache.absolute()
    raw = directory / RAW
    raw.mkdir(parents=True)
    locust = _locust(profile, cache, say)
    with tempfile.TemporaryDirectory(prefix="stress-", dir=cache) as name:
        work = Path(name)
        say("Starting the deployment.")
        with deployed(work, profile.deployment, cache=cache, seed=profile.seed) as deployment:
            say(f"It runs; its web UI is {deployment.web_url}")
            _Run(profile, deployment, raw, work, say).run(locust)
            say("Stopping the deployment.")


def _locust(profile: Profile, cache: Path, say: Callable[[str], Any]) -> Path | None:
    if not profile.readers.users:
        return None
    say("Installing locust, unless it is there.")
    return engine.install(cache)
