# SPDX-License-Identifier: GPL-2.0-only
"""Events of a pool's workers that connect and disconnect, made from what was written.

Buildbot 4.3 reads a worker, its builders and its connections after each of both. Those of a pool's
workers are written by their master only, and each build begins and ends with one. Events of other
workers are Buildbot's.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from buildbot.data.workers import Worker
from buildbot.db.workers import WorkersConnectorComponent
from twisted.internet.defer import Deferred

from latent_libvirt.master.database.written_events import (
    Kind,
    memory_of,
    note_writes,
    unknown_change,
)
from latent_libvirt.upstream import relied_on

if TYPE_CHECKING:
    from latent_libvirt.master.database.written_events import (
        Row,
    )

KIND: Final = Kind(
    Worker,
    WorkersConnectorComponent,
    "workerid",
    {
        "set_worker_graceful": unknown_change,
        "set_worker_paused": unknown_change,
        "workerConfigured": unknown_change,
    },
    frozenset(
        {
            *("deconfigureAllWorkersForMaster", "findWorkerId", "getWorker", "getWorkers"),
            *("workerConnected", "workerDisconnected"),
        }
    ),
)

RELIED_ON: Final = (
    (Worker, "produceEvent"),
    (Worker, "workerConnected"),
    (Worker, "workerDisconnected"),
)


def install(master: Any) -> None:
    """Announce the workers of *master* like that from now on."""
    if relied_on.are_there(
        RELIED_ON, does="announces workers", otherwise="each is read again"
    ) and note_writes(KIND):
        master.data.updates.workerConnected = partial(_connected, master)
        master.data.updates.workerDisconnected = partial(_disconnected, master)


def _connected(master: Any, workerid: int, masterid: int, workerinfo: Any) -> Deferred[None]:
    async def connect() -> None:
        await master.db.workers.workerConnected(
            workerid=workerid, masterid=masterid, workerinfo=workerinfo
        )
        connected = {"connected_to": [{"masterid": masterid}], "workerinfo": workerinfo}
        await _announce(master, workerid, "connected", connected)

    return Deferred.fromCoroutine(connect())


def _disconnected(master: Any, workerid: int, masterid: int) -> Deferred[None]:
    async def disconnect() -> None:
        await master.db.workers.workerDisconnected(workerid=workerid, masterid=masterid)
        await _announce(master, workerid, "disconnected", {"connected_to": []})

    return Deferred.fromCoroutine(disconnect())


async def _announce(master: Any, workerid: int, event: str, changes: Row) -> None:
    memory = memory_of(master, KIND)
    memory.change(workerid, changes)
    row = memory.get(workerid)
    if row is None:
        read = memory.begin_read(workerid)
        try:
            row = await master.data.get(("workers", workerid))
        finally:
            memory.end_read(workerid, read, row if _is_ours(master, row) else None)
    master.data.getResourceType("worker").produceEvent(row, event)


def _is_ours(master: Any, row: Row | None) -> bool:
    """Whether no other master has the worker of *row*, too."""
    if row is None:
        return False
    elsewhere = {each["masterid"] for each in (*row["connected_to"], *row["configured_on"])}
    worker = master.workers.workers.get(row["name"])
    return hasattr(worker, "pool_name") and elsewhere <= {master.masterid}
