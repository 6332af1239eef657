# SPDX-License-Identifier: GPL-2.0-only
"""Many jobs through two masters of unequal size, while everything there is is hurt.

``--jobs`` says how many, ``--rounds`` how often: ``make soak`` runs a thousand.
"""

from __future__ import annotations

import signal
import urllib.request
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import pytest
from buildbot.process.results import RETRY, SUCCESS

from buildmaster import DEADLINE, wait_for
from installation import JOB_API, Installation, Master
from latent_libvirt.jobs.client import Client, Document
from supervisor import supervised

SECONDS = "0.5"
"""What a build takes."""


@dataclass(frozen=True)
class Masters:
    """A scheduler master and two interface masters of unequal size."""

    installation: Installation
    scheduler: Master
    small: Master
    large: Master

    @classmethod
    def of(cls, installation: Installation) -> Masters:
        """Make them; they are not started."""
        scheduler = installation.scheduler()
        url = f"http://127.0.0.1:{scheduler.web_port}/"
        small = installation.interface("small", workers=1, buildbot_url=url)
        large = installation.interface("large", workers=4, buildbot_url=url)
        scheduler.add(f"{JOB_API}\nc['buildbotURL'] = {url!r}")
        return cls(installation, scheduler, small, large)

    @property
    def all(self) -> list[Master]:
        return [self.scheduler, self.small, self.large]

    def faults(self) -> list[Callable[[], None]]:
        """Return what hurts each part once."""
        return [
            self.large.kill,
            self.installation.postgresql.restart,
            partial(self.small.signal, signal.SIGTERM),
            self._kill_router,
            self.small.freeze,
            self._thaw,
            self.scheduler.kill,
            self._kill_database,
        ]

    def _kill_router(self) -> None:
        self.installation.router.kill()
        self.installation.router.start()

    def _kill_database(self) -> None:
        self.installation.postgresql.kill()
        self.installation.postgresql.start()

    def _thaw(self) -> None:
        self.small.thaw()
        wait_for("it to have noticed", lambda: self.installation.state(self.small) == "here")


def test_each_job_that_is_accepted_has_one_result_whatever_is_hurt_meanwhile(
    installation: Installation, pytestconfig: pytest.Config
) -> None:
    count, rounds = pytestconfig.getoption("jobs"), pytestconfig.getoption("rounds")
    masters = Masters.of(installation)
    scheduler = masters.scheduler
    client = Client(scheduler.jobs_url, scheduler.make_token(), retry_for=DEADLINE)
    installation.start(*masters.all)
    with supervised(masters.all), ThreadPoolExecutor(1) as poster:
        submit = partial(client.submit, {"builder": "check", "properties": {"seconds": SECONDS}})
        accepted = [poster.submit(submit) for _ in range(count)]
        ended(installation, count // 10)
        done = Counter(name for name, result in builds(installation) if result == SUCCESS)
        assert done["large"] > done["small"]
        faults = masters.faults() * rounds
        for number, hurt in enumerate(faults):
            ended(installation, count * (number + 1) // (len(faults) + 1))
            hurt()
        ended(installation, count)
        check(installation, masters, client, [job.result() for job in accepted])


def check(
    installation: Installation, masters: Masters, client: Client, documents: list[Document]
) -> None:
    """See that each job has one result in the database, and is green at its URL."""
    successes = installation.query(
        "SELECT uuid, count(*) FROM latent_libvirt_jobs"
        " JOIN buildrequests USING (buildsetid) JOIN builds ON buildrequestid = buildrequests.id"
        " WHERE builds.results = 0 GROUP BY uuid"
    )
    assert sorted(successes) == [(uuid, 1) for uuid in sorted(job["uuid"] for job in documents)]
    results = Counter(result for _, result in builds(installation))
    print(f"{len(documents)} jobs; their builds by result: {results}")  # noqa: T201 - make soak
    assert results.keys() == {SUCCESS, RETRY}
    with ThreadPoolExecutor(2) as readers:
        assert all(readers.map(partial(is_green, client), documents))
    assert len({job["url"] for job in documents}) == len(documents)
    assert {job["url"].rpartition("/")[0] for job in documents} == {masters.scheduler.jobs_url}


def is_green(client: Client, job: Document) -> bool:
    """Tell whether a job's own URL says that it has succeeded, and leads to a log."""
    found = client.job(job["uuid"])  # it waits for the master if that only starts
    with urllib.request.urlopen(f"{job['url']}/log", timeout=60) as log:
        return bool(found["result"] == "success" and log.status == 200)


def builds(installation: Installation) -> list[tuple[str, int | None]]:
    """Return where each build ran, and what it has come to."""
    rows = installation.query(
        "SELECT masters.name, results FROM builds JOIN masters ON masters.id = masterid"
    )
    return [(name.rpartition("/")[2], result) for name, result in rows]


def ended(installation: Installation, number: int) -> None:
    """Wait until so many jobs have their result."""

    def count() -> int:
        ((complete,),) = installation.query(
            "SELECT count(*) FROM buildrequests WHERE complete = 1 AND results = 0"
        )
        return int(complete)

    wait_for(f"{number} jobs to end", lambda: count() >= number)
