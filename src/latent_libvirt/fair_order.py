# SPDX-License-Identifier: GPL-2.0-only
"""The two hooks by which Buildbot's distributor asks who comes next, and with which worker.

``c["prioritizeBuilders"]`` and ``c["select_next_worker"]`` of a ``master.cfg``; whose turn it is
follows from the rules in ``turns.py``. The second hook also ends a builder's turn when there is no
room: without it, Buildbot would try every waiting request with every idle worker (buildbot #3395).
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy
from buildbot.db.model import Model

from latent_libvirt.turns import Turns, Waiting


class FairOrder:
    """The order of a master's builders.

    :param master: the Buildbot master.
    """

    def __init__(self, master: Any) -> None:
        self._master = master
        self.turns = Turns()

    async def prioritize(self, builders: list[Any], vms: Iterable[str]) -> list[Any]:
        """Return *builders* in the order in which they are to be tried.

        :param vms: the builder of each VM that there is.
        """
        waiting = await self._master.db.pool.do(waiting_requests)
        by_name = {builder.name: builder for builder in builders}
        return [by_name[name] for name in self.turns.line_up(by_name, waiting, Counter(vms))]

    def select(self, builder: Any, workers: list[Any], request: Any) -> Any:
        """Return the worker for *request*; ``None`` if *builder* has nothing to hope for now."""
        ready = [worker for worker in workers if worker.worker.canStartBuild()]
        if not ready:
            self.turns.no_room(builder.name)
            return None
        if not all(hasattr(worker.worker, "pool_name") for worker in ready):
            return random.choice(ready)  # noqa: S311 - which of equals is no secret
        if not self.turns.may_take(builder.name, request.priority):
            self._master.reactor.callLater(
                0, self._master.botmaster.maybeStartBuildsForBuilder, builder.name
            )
            return None
        idle = [worker for worker in ready if getattr(worker.worker, "has_idle_vm", False)]
        return random.choice(idle or ready)  # noqa: S311 - which of equals is no secret


def waiting_requests(connection: sqlalchemy.Connection) -> Mapping[str, Waiting]:
    """Return what waits for each builder: counted by the database, in one query. Blocks."""
    requests: dict[str, dict[int, int]] = defaultdict(dict)
    since: dict[str, dict[int, float]] = defaultdict(dict)
    for builder, priority, count, oldest in connection.execute(_QUERY):
        requests[builder][priority] = count
        since[builder][priority] = float(oldest)
    return {builder: Waiting(counts, since[builder]) for builder, counts in requests.items()}


def _query() -> sqlalchemy.Select[Any]:
    requests, claims, builders = Model.buildrequests, Model.buildrequest_claims, Model.builders
    joined = requests.join(builders, requests.c.builderid == builders.c.id)
    return (
        sqlalchemy.select(
            builders.c.name,
            requests.c.priority,
            sqlalchemy.func.count(),
            sqlalchemy.func.min(requests.c.submitted_at),
        )
        .select_from(joined.outerjoin(claims, requests.c.id == claims.c.brid))
        .where(requests.c.complete == 0, claims.c.brid.is_(None))
        .group_by(builders.c.name, requests.c.priority)
    )


_QUERY = _query()
