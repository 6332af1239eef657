# SPDX-License-Identifier: GPL-2.0-only
"""A run: a system is put under load and measured, until its jobs have ended or the time is over."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from latent_libvirt.stress import clock
from latent_libvirt.stress.deployment.deployment import deployed
from latent_libvirt.stress.deployment.system import StartedSystem
from latent_libvirt.stress.driver import Driver
from latent_libvirt.stress.measure.raw import append, make
from latent_libvirt.stress.measure.sampling import sampling
from latent_libvirt.stress.plan import planned_jobs
from latent_libvirt.stress.readers import engine
from latent_libvirt.stress.report.data import RAW, Run
from latent_libvirt.stress.system import Sample
from latent_libvirt.stress.target.approach import approached
from latent_libvirt.stress.workspace import workspace

if TYPE_CHECKING:
    from latent_libvirt.stress.measure.processes import ProcessWatch
    from latent_libvirt.stress.profile.models import Profile
    from latent_libvirt.stress.system import System
    from latent_libvirt.stress.workspace import Workspace

Say = Callable[[str], object]

HARNESS: Final = "harness"
"""What this process is called in the figures."""

SAMPLE_EVERY: Final = 1.0
"""Seconds between two samples of processes."""

_POLL: Final = 1.0


@dataclass(frozen=True)
class _Run:
    """One run.

    :param raw: the directory of its raw data.
    :param work: a directory for the files of the readers.
    """

    profile: Profile
    system: System
    raw: Path
    work: Path
    say: Say

    def run(self, locust: Path | None) -> None:
        """Do it, and write down what was measured."""
        self.system.begin()
        began = clock.now()
        try:
            with self._measured() as (check, watch), self._readers(locust, watch):
                began = clock.now()
                self._post_and_wait(check)
                ended = clock.now()
        except BaseException:
            with suppress(Exception):  # what ended the run is to be reported
                self._finish(began, max(clock.now(), began + _POLL))
            raise
        self._finish(began, max(ended, began + _POLL))

    def _finish(self, began: float, ended: float) -> None:
        self._write_about(began, ended)
        self.system.collect(self.raw)

    def _post_and_wait(self, check: Callable[[], None]) -> None:
        driver = Driver(self.system.submit, lambda row: append(self.raw / "posts.jsonl", [row]))
        give_up_at = time.monotonic() + self.profile.within
        try:
            driver.run(planned_jobs(self.profile), deadline=self.profile.within, check=check)
        finally:
            self.system.stop()
        self.say("All jobs are posted.")
        while self.system.unfinished() and time.monotonic() < give_up_at:
            check()
            time.sleep(_POLL)

    @contextmanager
    def _measured(self) -> Iterator[tuple[Callable[[], None], ProcessWatch]]:
        """Measure for the length of a ``with`` block; yield a check that all goes well."""
        watch = self.system.watch(HARNESS)
        with ExitStack() as stack:
            checks = [
                stack.enter_context(
                    sampling(sample.take, self.raw / f"{sample.name}.jsonl", every=sample.every)
                )
                for sample in (Sample("processes", watch.sample, SAMPLE_EVERY), *self.samples)
            ]

            def check() -> None:
                self.system.see_that_all_run()
                for each in checks:
                    each()

            yield check, watch

    @property
    def samples(self) -> list[Sample]:
        """What is measured of the system."""
        return self.system.samples()

    @contextmanager
    def _readers(self, locust: Path | None, watch: ProcessWatch) -> Iterator[None]:
        if locust is None:
            yield
            return
        output = self.raw / "web.jsonl"
        system = self.system
        plan = engine.Reading(
            self.profile.readers, system.web_url, system.token, output, system.addresses
        )
        with engine.reading(plan, program=locust, work=self.work) as process:
            watch.add(engine.NAME, process.pid)
            engine.await_first(process, output)
            yield

    def _write_about(self, began: float, ended: float) -> None:
        """Write down what is known of the run itself."""
        run = Run(
            began=began,
            ended=ended,
            cores=os.cpu_count() or 1,
            jobs=self.profile.jobs.count,
            profile=yaml.safe_dump(
                self.profile.model_dump(mode="json", exclude_none=True), sort_keys=False
            ),
            **asdict(self.system.about()),
        )
        (self.raw / "run.json").write_text(json.dumps(asdict(run), indent=2))


def run(profile: Profile, directory: Path, *, cache: Path, say: Say = print) -> None:
    """Run a profile, and leave its raw data in *directory*.

    :param directory: of the report; must not have the data of another run.
    :param cache: keeps what takes long to install.
    :param say: receives a line about each stage.
    :raises LatentLibvirtError: something does not start, or ends early.
    """
    # Processes that are started have separate working directories.
    directory, cache = directory.absolute(), cache.absolute()
    raw = directory / RAW
    with (
        workspace(cache) as work,
        _raw_data_in(raw, profile),
        _system(profile, raw, work, cache, say) as system,
    ):
        _Run(profile, system, raw, work.directory, say).run(_locust(profile, cache, say))
        say("Ending what is left of the load.")


@contextmanager
def _raw_data_in(raw: Path, profile: Profile) -> Iterator[None]:
    """Have a directory for the raw data; at the end it is gone if nothing is in it.

    That of a target is made when the target is known to be the operator's.
    """
    if profile.target is None:
        make(raw)
    try:
        yield
    finally:
        for directory in (raw, raw.parent):
            with suppress(OSError):
                directory.rmdir()


@contextmanager
def _system(
    profile: Profile, raw: Path, work: Workspace, cache: Path, say: Say
) -> Iterator[System]:
    """Give what the profile puts under load; its end is that of the ``with`` block."""
    if profile.target is not None:
        with approached(profile, raw, say) as target:
            yield target
        return
    assert profile.deployment is not None
    if profile.deployment.hypervisor == "private":
        say("Its image is built first, unless it is there. That takes a minute or two.")
    say("Starting the deployment.")
    with deployed(work, profile.deployment, cache=cache, seed=profile.seed) as deployment:
        say(f"It runs; its web UI is {deployment.web_url}")
        yield StartedSystem(
            deployment,
            slots=profile.deployment.all_slots,
            hypervisor=profile.deployment.hypervisor,
        )


def _locust(profile: Profile, cache: Path, say: Callable[[str], Any]) -> Path | None:
    if not profile.readers.users:
        return None
    say("Installing locust, unless it is there.")
    return engine.install(cache)
