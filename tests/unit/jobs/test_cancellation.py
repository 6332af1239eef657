# SPDX-License-Identifier: GPL-2.0-only
"""Cancellations that are said until the job has ended. The database is real, Buildbot is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from buildbot.db.model import Model
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from job_records import JOB, UUID, Tables
from latent_libvirt.jobs.cancellation import SAID_AGAIN_AFTER, Repeats, cancel
from latent_libvirt.jobs.table import jobs


class Master:
    """A master that keeps what it was told."""

    def __init__(self, tables: Tables, reactor: Clock) -> None:
        self.told: list[int] = []
        self.reactor = reactor
        self._tables = tables
        self.db = SimpleNamespace(pool=self)
        self.data = self
        self.repeats = Repeats(self)

    async def do(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(self._tables.connection, *arguments)

    async def control(self, _action: str, _arguments: Any, path: tuple[str, str]) -> None:
        self.told.append(int(path[1]))

    def say(self, *, at_once: bool = False) -> None:
        Deferred.fromCoroutine(self.repeats.say(at_once=at_once)).addErrback(_raise)


def _raise(failure: Any) -> None:
    failure.raiseException()


def add_cancelled(tables: Tables, *, due: int) -> int:
    """Add a job that was cancelled; return its request."""
    return add_job(tables, cancel_due=due, cancelled_by="t")


def add_job(tables: Tables, **cancelled: Any) -> int:
    """Add a job that waits; return its request."""
    buildset = tables.add(Model.buildsets, submitted_at=0, complete=0)
    request = tables.add(
        Model.buildrequests,
        buildsetid=buildset,
        builderid=tables.add_builder("b"),
        priority=0,
        complete=0,
        submitted_at=0,
        waited_for=0,
    )
    tables.add(
        jobs,
        uuid=UUID,
        buildsetid=buildset,
        digest="",
        token="t",
        accepted_at=0,
        callback_tries=0,
        **cancelled,
    )
    return request


def test_each_master_says_it_for_itself_until_the_job_has_ended(tables: Tables) -> None:
    clock = Clock()
    masters = [Master(tables, clock), Master(tables, clock)]
    request = add_cancelled(tables, due=10)

    for second in range(40):
        for master in masters:
            master.say()
        if second == 9:
            assert masters[0].told == []
        clock.advance(1)
    expected = len(range(10, 40, SAID_AGAIN_AFTER))
    assert [master.told for master in masters] == [[request] * expected] * 2

    with tables.connection.begin():
        tables.connection.execute(Model.buildrequests.update().values(complete=1))
    clock.advance(SAID_AGAIN_AFTER)
    masters[0].say()
    assert len(masters[0].told) == expected
    assert tables.connection.execute(jobs.select()).one().cancel_due is None


def test_a_master_that_starts_says_it_at_once(tables: Tables) -> None:
    master = Master(tables, Clock())
    request = add_cancelled(tables, due=10)
    master.say(at_once=True)
    assert master.told == [request]


def test_a_job_that_has_ended_in_the_meantime_was_cancelled_by_nobody(tables: Tables) -> None:
    """Its client has seen it running, and the build ends before the cancellation is noted."""
    request = add_job(tables)
    master = Master(tables, Clock())
    seen = replace(JOB, build_request=request)
    with tables.connection.begin():
        tables.connection.execute(
            Model.buildrequests.update().values(complete=1, results=0, complete_at=5)
        )

    Deferred.fromCoroutine(cancel(master, seen, by="ci")).addErrback(_raise)

    with tables.connection.begin():
        row = tables.connection.execute(jobs.select()).one()
    assert (row.cancelled_at, row.cancelled_by, row.cancel_due) == (None, None, None)


def test_it_is_said_again_in_time_when_the_clock_has_been_set_back(tables: Tables) -> None:
    clock = Clock()
    clock.advance(7200)
    master = Master(tables, clock)
    request = add_cancelled(tables, due=int(clock.seconds()) + SAID_AGAIN_AFTER)
    master.say()
    assert master.told == []

    clock.rightNow -= 3600
    master.say()
    assert master.told == [request]
