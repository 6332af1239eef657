# SPDX-License-Identifier: GPL-2.0-only
"""In which order Buildbot's distributor lets builders look for room, and when a turn ends.

The order is that of ``c["prioritizeBuilders"]`` in a ``master.cfg``; ``build_chooser.py`` asks
whether a builder may go on. The rules are those of ``turns.py``, what waits is in the database.
"""

from __future__ import annotations

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

    def is_turn_of(self, builder: Any, priority: int) -> bool:
        """Whether *builder* may go on, with a request of that priority; if not, it comes again."""
        if not any(hasattr(worker.worker, "pool_name") for worker in builder.workers):
            return True
        if self.turns.may_take(builder.name, priority):
            return True
        botmaster = self._master.botmaster
        self._master.reactor.callLater(0, botmaster.maybeStartBuildsForBuilder, builder.name)
        return False


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
