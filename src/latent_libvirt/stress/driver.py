# SPDX-License-Identifier: GPL-2.0-only
"""The driver: posts jobs through the job API at planned times, and records how late it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.stress import clock

if TYPE_CHECKING:
    from latent_libvirt.stress.measure.raw import Row
    from latent_libvirt.stress.shapes import Shape

POSTERS: Final = 8
"""How many POSTs may be under way at once."""

_STEP: Final = 0.2


@dataclass(frozen=True)
class PlannedJob:
    """A job that is to be posted.

    :param at: seconds from the start of the run.
    :param name: of its shape.
    """

    at: float
    uuid: UUID
    name: str
    shape: Shape


class Driver:
    """Posts jobs.

    :param submit: starts a job; its argument is the body of the POST.
    :param record: receives a row for each job.
    """

    def __init__(
        self, submit: Callable[[dict[str, Any]], Any], record: Callable[[Row], None]
    ) -> None:
        self._submit = submit
        self._record = record
        self._began = 0.0

    def run(
        self, jobs: Sequence[PlannedJob], *, deadline: float, check: Callable[[], None]
    ) -> None:
        """Post all jobs; return when that is done, or the deadline has passed.

        :param jobs: in the order of their times.
        :param deadline: seconds from now.
        :param check: called between jobs; may raise.
        """
        self._began = clock.now()
        with ThreadPoolExecutor(POSTERS, "posts") as posters:
            try:
                posts = [self._in_time(job, posters, check) for job in jobs if job.at <= deadline]
                self._await(posts, deadline, check)
                _see_that_all_are_recorded(posts)
            finally:
                posters.shutdown(wait=False, cancel_futures=True)

    def _in_time(
        self, job: PlannedJob, posters: ThreadPoolExecutor, check: Callable[[], None]
    ) -> Future[None]:
        while (wait := self._began + job.at - clock.now()) > 0:
            check()
            time.sleep(min(wait, _STEP))
        return posters.submit(self._post, job)

    def _await(self, posts: list[Future[None]], deadline: float, check: Callable[[], None]) -> None:
        while any(not post.done() for post in posts) and clock.now() < self._began + deadline:
            check()
            _see_that_all_are_recorded(posts)
            time.sleep(_STEP)

    def _post(self, job: PlannedJob) -> None:
        planned, began = self._began + job.at, clock.now()
        error = ""
        try:
            self._submit({"uuid": str(job.uuid), "reason": job.name, **job.shape.request()})
        except LatentLibvirtError as refusal:
            error = str(refusal)
        row = {"at": planned, "uuid": str(job.uuid), "shape": job.name, "error": error}
        self._record(row | {"late": began - planned, "seconds": clock.now() - began})


def _see_that_all_are_recorded(posts: Sequence[Future[None]]) -> None:
    """Raise what has kept a post from being recorded, such as a full disk."""
    for post in posts:
        if post.done() and not post.cancelled():
            post.result()
