# SPDX-License-Identifier: GPL-2.0-only
"""Orphans: the rows that a dead master leaves in Buildbot's database, and their reclaim.

Its builds become RETRY. Its requests become unclaimed, its workers disconnected, and its schedulers
free for others. The request of a build that had ended gets the result that the master had not
stored, and does not run again. All of that is one transaction. The messages to other masters follow
it.

Buildbot (``data/masters.py`` of 4.3) does it in many steps, during which the dead master may come
back, and leaves the requests claimed (see ``patches.py``). ``failover.py`` decides who is dead.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa
from buildbot.db.model import Model
from buildbot.process.results import RETRY

from latent_libvirt.multimaster.membership import NOW

STATE: Final = "its master is gone"
"""What the web UI shows of a build that was cut off."""


@dataclass(frozen=True)
class Orphans:
    """The rows that have been reclaimed, for messages to the other masters.

    :param builds: those that were cut off.
    :param steps: of theirs.
    :param logs: of theirs.
    :param requests: those that anybody may claim again.
    :param untold: the results of requests whose build had ended, by request.
    :param workers: those that were connected.
    :param schedulers: those that another master may claim.
    """

    builds: tuple[int, ...] = ()
    steps: tuple[int, ...] = ()
    logs: tuple[int, ...] = ()
    requests: tuple[int, ...] = ()
    untold: dict[int, int] = field(default_factory=dict)
    workers: tuple[int, ...] = ()
    schedulers: tuple[int, ...] = ()


def reclaim(connection: sa.Connection, masterid: int) -> Orphans:
    """Settle what a master has left, in the transaction that *connection* is in. Blocks."""
    builds = _ids(connection, Model.builds.c.id, _cut_off(masterid))
    steps = _ids(connection, Model.steps.c.id, _open(Model.steps, Model.steps.c.buildid, builds))
    logs = _ids(connection, Model.logs.c.id, _unfinished_logs(steps))
    claimed = _ids(connection, Model.buildrequest_claims.c.brid, _claimed(masterid))
    _end(connection, builds, steps, logs)
    untold = _results(connection, claimed)
    requests = tuple(request for request in claimed if request not in untold)
    orphans = Orphans(
        builds,
        steps,
        logs,
        requests,
        untold,
        workers=_ids(connection, Model.connected_workers.c.workerid, _connected(masterid)),
        schedulers=_ids(connection, Model.scheduler_masters.c.schedulerid, _scheduled(masterid)),
    )
    _let_go(connection, masterid, requests)
    return orphans


async def announce(master: Any, orphans: Orphans) -> None:
    """Announce to all masters what has been reclaimed, as Buildbot does for any build.

    A message may come twice. Without any, masters find the requests a little later, and the
    results stay for the next failover of this masterid.

    :param master: the one that announces it.
    """
    types = master.data.rtypes
    for request, results in orphans.untold.items():
        await master.data.updates.completeBuildRequests([request], results)
    for log in orphans.logs:
        await types.log.generateEvent(log, "finished")
    for step in orphans.steps:
        await types.step.generateEvent(step, "finished")
    for build in orphans.builds:
        await types.build.generateEvent(build, "finished")
    for worker in orphans.workers:
        types.worker.produceEvent(await master.data.get(("workers", worker)), "disconnected")
    for scheduler in orphans.schedulers:
        await types.scheduler.generateEvent(scheduler, "updated")
    await types.buildrequest.generateEvent(orphans.requests, "unclaimed")


def _cut_off(masterid: int) -> Any:
    return sa.and_(Model.builds.c.masterid == masterid, Model.builds.c.complete_at.is_(None))


def _open(table: sa.Table, parent: Any, parents: Collection[int]) -> Any:
    return sa.and_(parent.in_(parents), table.c.complete_at.is_(None))


def _unfinished_logs(steps: Collection[int]) -> Any:
    return sa.and_(Model.logs.c.stepid.in_(steps), Model.logs.c.complete == 0)


def _claimed(masterid: int) -> Any:
    claims = Model.buildrequest_claims
    unfinished = sa.select(Model.buildrequests.c.id).where(Model.buildrequests.c.complete == 0)
    return sa.and_(claims.c.masterid == masterid, claims.c.brid.in_(unfinished))


def _connected(masterid: int) -> Any:
    return Model.connected_workers.c.masterid == masterid


def _scheduled(masterid: int) -> Any:
    return Model.scheduler_masters.c.masterid == masterid


def _ids(connection: sa.Connection, column: Any, condition: Any) -> tuple[int, ...]:
    return tuple(connection.scalars(sa.select(column).where(condition).order_by(column)))


def _end(
    connection: sa.Connection,
    builds: Collection[int],
    steps: Collection[int],
    logs: Collection[int],
) -> None:
    now = sa.cast(NOW, sa.Integer)
    ended = {"complete_at": now, "results": RETRY}
    _update(connection, Model.logs, logs, complete=1)
    _update(connection, Model.steps, steps, **ended, hidden=0)
    _update(connection, Model.builds, builds, **ended, state_string=STATE)


def _update(connection: sa.Connection, table: sa.Table, ids: Collection[int], **to: Any) -> None:
    connection.execute(table.update().where(table.c.id.in_(ids)).values(**to))


def _results(connection: sa.Connection, requests: Collection[int]) -> dict[int, int]:
    """Return what the last build of each request has come to, unless that was RETRY."""
    builds = Model.builds
    rows = connection.execute(
        sa.select(builds.c.buildrequestid, builds.c.results)
        .where(builds.c.buildrequestid.in_(requests))
        .order_by(builds.c.id)
    )
    latest = {row.buildrequestid: row.results for row in rows}
    return {request: results for request, results in latest.items() if results != RETRY}


def _let_go(connection: sa.Connection, masterid: int, requests: Collection[int]) -> None:
    """Remove what ties things to a master, as Buildbot does when a master stops."""
    claims, ties = Model.buildrequest_claims, Model.builder_masters
    connection.execute(claims.delete().where(claims.c.brid.in_(requests)))
    builders = sa.select(ties.c.id).where(ties.c.masterid == masterid)
    configured = Model.configured_workers
    connection.execute(configured.delete().where(configured.c.buildermasterid.in_(builders)))
    for table in (
        Model.connected_workers,
        Model.scheduler_masters,
        Model.changesource_masters,
        ties,
    ):
        connection.execute(table.delete().where(table.c.masterid == masterid))
    masters = Model.masters
    connection.execute(masters.update().where(masters.c.id == masterid).values(active=0))


def in_words(orphans: Orphans) -> str:
    """Return what was settled, for the log."""
    counts = {
        "builds to be run again": len(orphans.builds),
        "requests to be claimed": len(orphans.requests),
        "results to be announced": len(orphans.untold),
        "workers": len(orphans.workers),
        "schedulers": len(orphans.schedulers),
    }
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing"
