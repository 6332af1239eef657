# SPDX-License-Identifier: GPL-2.0-only
"""Cancellation of a job: a note in the database, and messages to the masters until the job ends.

Buildbot's message alone would be lost with a master that dies before it acts on it, and the job
would run again elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy
from buildbot.db.model import Model

from latent_libvirt.jobs.table import is_due, jobs
from latent_libvirt.timers import passed

if TYPE_CHECKING:
    from latent_libvirt.jobs.queries import Job

SAID_AGAIN_AFTER = 15
"""Seconds."""


async def cancel(master: Any, job: Job, *, by: str) -> None:
    """Cancel a job that has not ended.

    :param by: the name of the token.
    """
    now = int(master.reactor.seconds())
    await master.db.pool.do(_note, job.uuid, by, now)
    await _tell(master, job.build_request, by)


class Repeats:
    """Repeated messages about cancelled jobs that have not ended.

    Each master says it, whatever the others say: without a message queue that masters share, only
    the one that runs a build can end it, and it has never heard of the cancellation.
    """

    def __init__(self, master: Any) -> None:
        self._master = master
        self._said_at: dict[int, float] = {}

    async def say(self, *, at_once: bool = False) -> None:
        """Announce to the masters the jobs that were cancelled a while ago and have not ended.

        :param at_once: of all of them. A master that starts would begin builds of jobs that were
            cancelled while it was dead.
        """
        clock = int(self._master.reactor.seconds())
        due = await self._master.db.pool.do(_due, clock, at_once)
        now = passed(self._master.reactor)
        before, self._said_at = self._said_at, {}
        for request, by in due:
            said_at = before.get(request)
            if said_at is not None and now - said_at < SAID_AGAIN_AFTER:
                self._said_at[request] = said_at
                continue
            self._said_at[request] = now
            await _tell(self._master, request, by)


async def _tell(master: Any, request: int, by: str) -> None:
    reason = {"reason": f"cancelled by {by}"}
    await master.data.control("cancel", reason, ("buildrequests", str(request)))


def _note(connection: sqlalchemy.Connection, uuid: str, by: str, now: int) -> None:
    """Note who has cancelled a job, unless somebody has before, or it has ended since."""
    requests = Model.buildrequests
    goes_on = sqlalchemy.exists().where(
        requests.c.buildsetid == jobs.c.buildsetid, requests.c.complete == 0
    )
    with connection.begin():
        connection.execute(
            jobs.update()
            .where(jobs.c.uuid == uuid, jobs.c.cancelled_at.is_(None), goes_on)
            .values(cancelled_at=now, cancelled_by=by, cancel_due=now + SAID_AGAIN_AFTER)
        )


def _due(connection: sqlalchemy.Connection, now: int, at_once: bool) -> list[tuple[int, str]]:  # noqa: FBT001 - passed by the pool
    """Return the requests to announce, each with who cancelled it; forget what has ended."""
    requests = Model.buildrequests
    when = jobs.c.cancel_due
    wanted = when.is_not(None) if at_once else is_due(when, now, SAID_AGAIN_AFTER)
    with connection.begin():
        rows = connection.execute(
            sqlalchemy.select(jobs.c.id, requests.c.id, requests.c.complete, jobs.c.cancelled_by)
            .join_from(jobs, requests, requests.c.buildsetid == jobs.c.buildsetid)
            .where(wanted)
        ).all()
        ended = [job for job, _request, complete, _by in rows if complete]
        for job in ended:
            connection.execute(jobs.update().where(jobs.c.id == job).values(cancel_due=None))
    return [(request, by) for _job, request, complete, by in rows if not complete]
