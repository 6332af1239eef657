# SPDX-License-Identifier: GPL-2.0-only
"""Which build requests nobody has claimed: one question to Buildbot's database.

Buildbot's own data API would bring every waiting request as an object; with 25,000 of them
(buildbot #3395) that holds up the master. Here the database counts. What follows from the answer is
the business of ``fair_order.py`` and ``waiting.py``.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import sqlalchemy
from buildbot.db.model import Model

from latent_libvirt.queues import Queue


def unclaimed(connection: sqlalchemy.Connection) -> dict[str, dict[int, Queue]]:
    """Return the requests that no master has claimed, by builder's name and priority. Blocks."""
    found: dict[str, dict[int, Queue]] = defaultdict(dict)
    for builder, priority, requests, since in connection.execute(QUERY):
        found[builder][priority] = Queue(requests, float(since))
    return dict(found)


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


QUERY = _query()
