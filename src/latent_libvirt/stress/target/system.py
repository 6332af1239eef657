# SPDX-License-Identifier: GPL-2.0-only
"""A running deployment as what is under load."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.exc import SQLAlchemyError

from latent_libvirt.control.messages import ControlError
from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.jobs.client import Client
from latent_libvirt.plain_text import as_text
from latent_libvirt.stress import clock
from latent_libvirt.stress.measure.database import Database
from latent_libvirt.stress.measure.processes import ProcessWatch, all_pids, named
from latent_libvirt.stress.measure.raw import append
from latent_libvirt.stress.system import About, Sample
from latent_libvirt.stress.target import addresses, masters, posted
from latent_libvirt.stress.target.posted import PostedJobs
from latent_libvirt.stress.target.queue import Queue
from latent_libvirt.stress.target.rest import Rest, TargetError

if TYPE_CHECKING:
    from latent_libvirt.stress.measure.raw import Row
    from latent_libvirt.stress.profile.target import TargetProfile
    from latent_libvirt.stress.target.masters import SeenMaster

WEB: Final = "web"
"""What the master with the web UI is called, as far as it is seen by HTTP."""

QEMU: Final = "qemu"
_OUR_VMS: Final = "guest=latent-libvirt-"

UUIDS: Final = "uuids.jsonl"
"""The file with the UUIDs of all jobs that may have been posted."""

LOOK_EVERY: Final = 2.0
STATEMENTS_EVERY: Final = 5.0


class TargetSystem:
    """A deployment that runs.

    :param raw: the directory of the raw data.
    """

    def __init__(self, target: TargetProfile, token: str, raw: Path, database: str | None) -> None:
        self._target = target
        self.token = token
        self.web_url = target.url
        self.addresses = addresses.check(target.url, target.addresses)
        self.rest = Rest(target.url, target.addresses)
        self.jobs = PostedJobs(
            target.jobs_url, token, raw / UUIDS, addresses.handlers(target.addresses)
        )
        self._record = raw / UUIDS
        self.queue = Queue(self.rest, lambda: self.jobs.requests)
        self._masters: list[SeenMaster] = []
        self._database = None if database is None else Database(database)
        self._invisible: list[str] = []
        self._look_around()

    def _look_around(self) -> None:
        """Find out what can be seen of the target on this machine."""
        self._find_masters()
        self._try_database()
        for name, pid in self._target.processes.items():
            if not masters.is_there(pid):
                raise TargetError(
                    f"there is no process {pid}, which target.processes calls {name}",
                    resolution="Correct its number in the profile.",
                )
        if not self._target.masters and not self._target.processes:
            self._invisible.append(
                "processor time, memory and event loops of the masters: the profile names none on "
                "this machine"
            )

    def _find_masters(self) -> None:
        for name, directory in self._target.masters.items():
            try:
                self._masters.append(masters.find(name, Path(directory)))
            except ControlError as error:
                self._invisible.append(f"the master {name}: {error.brief}")

    def _try_database(self) -> None:
        if self._database is None:
            self._invisible.append("time by statement: the profile names no database")
            return
        try:
            self._database.measure_statements()
        except SQLAlchemyError as error:
            first = as_text(error).strip().splitlines()[0]
            self._invisible.append(f"time by statement: {first}")
            self._database = None

    def about(self) -> About:
        """Return what a report says of the target."""
        return About(
            slots=sum(master.slots for master in self._masters),
            masters=(WEB, *dict.fromkeys([m.name for m in self._masters])),
            hypervisor="those of the target",
            target=self._target.url,
            invisible=tuple(self._invisible),
            loops_by="answers",
        )

    def watch(self, own_name: str) -> ProcessWatch:
        """Return a watch of the processes that are on this machine."""
        pids = {master.name: master.pid for master in self._masters}
        pids |= self._target.processes
        watch = ProcessWatch(pids, own_name)
        if pids:
            watch.add_set(QEMU, lambda: named("qemu-system", all_pids(), _OUR_VMS))
        return watch

    def samples(self) -> list[Sample]:
        """Return the other measurements."""
        found = [
            Sample("queue", self.queue.sample, LOOK_EVERY),
            Sample(f"reactor-{WEB}", self._first_page, 1.0),
        ]
        found += [Sample(f"reactor-{m.name}", m.answers, 1.0) for m in self._masters]
        if self._database is not None:
            found.append(Sample("database", self._database.time, STATEMENTS_EVERY))
        return found

    def _first_page(self) -> list[Row]:
        began, error = clock.now(), ""
        try:
            self.rest.first_page()
        except TargetError as reason:
            error = reason.brief
        seconds = clock.now() - began
        return [{"at": began, "mean": seconds, "max": seconds, "error": error}]

    def begin(self) -> None:
        """Begin to measure what counts from the beginning of a run."""
        if self._database is not None:
            self._database.measure_statements()

    def see_that_all_run(self) -> None:
        """Do nothing: the target is not the harness's."""

    def submit(self, request: Mapping[str, Any]) -> None:
        """Post a job."""
        self.jobs.submit(request)

    def unfinished(self) -> int:
        """Return how many jobs of this run have not ended."""
        return self.queue.unfinished()

    def stop(self) -> None:
        """Accept no more jobs."""
        self.jobs.stop()

    def collect(self, raw: Path) -> None:
        """Write down what became of the jobs, and the slowest statements."""
        append(raw / "jobs.jsonl", self.jobs.outcomes())
        append(raw / f"leases-{WEB}.jsonl", self.jobs.starts())
        if self._database is not None:
            append(raw / "statements.jsonl", self._database.statements())

    def leave(self) -> list[str]:
        """Cancel the jobs that have not ended; return those for which that failed."""
        client = Client(
            self._target.jobs_url,
            self.token,
            retry_for=5.0,
            handlers=addresses.handlers(self._target.addresses),
        )
        failed = posted.cancel_all(client, self._may_be_unfinished())
        return [f"job {uuid}: {why}" for uuid, why in failed.items()]

    def _may_be_unfinished(self) -> list[str]:
        """Return the jobs that have not ended; all of them if that cannot be found out."""
        try:
            ended = {job["uuid"] for job in self.jobs.outcomes() if job["complete_at"] is not None}
        except LatentLibvirtError:
            ended = set()
        return [uuid for uuid in posted.recorded(self._record) if uuid not in ended]
