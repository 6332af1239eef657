# SPDX-License-Identifier: GPL-2.0-only
"""Buildsets: one statement reads one, and its end takes two reads.

Buildbot 4.3 reads a buildset by two statements. It does so five times for each request, and reads
the requests of a buildset twice to see whether all have ended. What is read, what is stored and
which events follow is the same here.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Collection
from functools import partial, reduce, wraps
from typing import Any, Final

import sqlalchemy
from buildbot.data.buildsets import Buildset
from buildbot.db.buildsets import (
    AlreadyCompleteError,
    BuildSetModel,
    BuildsetsConnectorComponent,
)
from buildbot.db.model import Model
from buildbot.process.results import SUCCESS, worst_status
from buildbot.util import epoch2datetime
from twisted.internet.defer import Deferred

from latent_libvirt.upstream import relied_on

RELIED_ON: Final = (
    (Buildset, "maybeBuildsetComplete"),
    (BuildsetsConnectorComponent, "getBuildset"),
    (BuildsetsConnectorComponent, "completeBuildset"),
)

SAME: Final = ("external_idstring", "reason", "parent_buildid", "parent_relationship")
SAME_FIELDS: Final = (*SAME, "results", "rebuilt_buildid")
"""Those that a buildset has as its row has them."""

FIELDS: Final = frozenset(
    {*SAME_FIELDS, "bsid", "submitted_at", "complete", "complete_at", "sourcestamps"}
)
"""All that a buildset of Buildbot 4.3 has."""


def install() -> None:
    """Let all of this process read a buildset by one statement from now on."""
    original = BuildsetsConnectorComponent.getBuildset
    if is_known() and not hasattr(original, "__wrapped__"):
        BuildsetsConnectorComponent.getBuildset = wraps(original)(_get)


def install_ends(master: Any) -> None:
    """End the buildsets of *master* like that from now on."""
    if is_known():
        master.data.updates.maybeBuildsetComplete = partial(_end_if_complete, master)


def is_known() -> bool:
    """Return whether Buildbot reads and ends buildsets as 4.3 does."""
    known = {field.name for field in dataclasses.fields(BuildSetModel)} == FIELDS
    return known and relied_on.are_there(
        RELIED_ON, does="reads buildsets", otherwise="each takes two statements"
    )


def _get(connector: Any, bsid: int) -> Deferred[BuildSetModel | None]:
    found: Deferred[BuildSetModel | None] = connector.db.pool.do(find, bsid)
    return found


def find(connection: sqlalchemy.Connection, bsid: int) -> BuildSetModel | None:
    """Return a buildset with the ids of its source stamps; ``None`` if there is none. Blocks."""
    sets, stamps = Model.buildsets, Model.buildset_sourcestamps
    query = (
        sqlalchemy.select(sets, stamps.c.sourcestampid)
        .select_from(sets.outerjoin(stamps, stamps.c.buildsetid == sets.c.id))
        .where(sets.c.id == bsid)
        .order_by(stamps.c.id)
    )
    rows = connection.execute(query).all()
    return _buildset(rows) if rows else None


def _buildset(rows: Collection[Any]) -> BuildSetModel:
    """Return the buildset that has a row for each of its source stamps, or one without any."""
    row, *_others = rows
    return BuildSetModel(
        bsid=row.id,
        submitted_at=epoch2datetime(row.submitted_at),
        complete=bool(row.complete),
        complete_at=epoch2datetime(row.complete_at),
        sourcestamps=[each.sourcestampid for each in rows if each.sourcestampid is not None],
        **{name: getattr(row, name) for name in SAME_FIELDS},
    )


def _end_if_complete(master: Any, bsid: int) -> Deferred[None]:
    return Deferred.fromCoroutine(_end(master, bsid))


async def _end(master: Any, bsid: int) -> None:
    """End a buildset if all its requests have ended and it has not."""
    requests = await master.db.buildrequests.getBuildRequests(bsid=bsid)
    if not all(request.complete for request in requests):
        return
    buildset = await master.db.buildsets.getBuildset(bsid)
    if buildset is None or buildset.complete:
        return
    results = reduce(worst_status, (request.results for request in requests), SUCCESS)
    at = epoch2datetime(int(master.reactor.seconds()))
    try:
        await master.db.buildsets.completeBuildset(bsid, results, complete_at=at)
    except AlreadyCompleteError:  # by another request of it, which announces it
        return
    message = await _message(master, buildset)
    end = {"complete": True, "complete_at": at, "results": results}
    master.data.getResourceType("buildset").produceEvent({**message, **end}, "complete")


async def _message(master: Any, buildset: BuildSetModel) -> dict[str, Any]:
    """Return what an event says of a buildset and is the same all its life."""
    stamps = [
        copy.deepcopy(await master.data.get(("sourcestamps", str(each))))
        for each in buildset.sourcestamps
    ]
    names = ("bsid", "submitted_at", "rebuilt_buildid", *SAME)
    return {**{name: getattr(buildset, name) for name in names}, "sourcestamps": stamps}
