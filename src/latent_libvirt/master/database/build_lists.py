# SPDX-License-Identifier: GPL-2.0-only
"""Lists of builds with some of their properties, which the database returns all at once.

Each list of builds in the web UI asks for a property (``property=owners``). Buildbot 4.3 reads all
properties of each build of the list for that, in a separate transaction.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection
from functools import wraps
from typing import Any, Final

import sqlalchemy
from buildbot.data.builds import BuildsEndpoint
from buildbot.data.resultspec import ResultSpec
from buildbot.db.model import Model
from twisted.internet.defer import Deferred

from latent_libvirt.upstream import relied_on

RELIED_ON: Final = ((BuildsEndpoint, "get"), (ResultSpec, "popProperties"))

ALL: Final = "*"
AT_ONCE: Final = 500
"""Builds in one query. SQLite allows 32,766 parameters."""

Properties = dict[str, tuple[Any, str]]
"""Properties by name, each with its value and its source."""


def install() -> None:
    """Let all lists of builds of this process be read like that from now on."""
    if relied_on.are_there(
        RELIED_ON, does="lists builds", otherwise="properties take a query for each build"
    ) and not getattr(BuildsEndpoint, "_latent_libvirt", False):
        BuildsEndpoint._latent_libvirt = True  # noqa: SLF001 - ours
        BuildsEndpoint.get = _at_once(BuildsEndpoint.get)


def _at_once(original: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(original)
    def get(self: Any, spec: Any, kwargs: Any) -> Deferred[list[dict[str, Any]]]:
        return Deferred.fromCoroutine(_list(self, spec, kwargs))

    async def _list(endpoint: Any, spec: Any, kwargs: Any) -> list[dict[str, Any]]:
        names = spec.popProperties()  # so that the original reads none
        builds: list[dict[str, Any]] = await original(endpoint, spec, kwargs)
        for first in range(0, len(builds) if names else 0, AT_ONCE):
            await _add(endpoint.master, builds[first : first + AT_ONCE], names)
        return builds

    return get


async def _add(master: Any, builds: list[dict[str, Any]], names: Collection[str]) -> None:
    """Add properties to builds, where they have some of those names."""
    ids = [build["buildid"] for build in builds]
    found = await master.db.pool.do(properties, ids, names)
    for build in builds:
        if its := found.get(build["buildid"]):
            build["properties"] = its


def properties(
    connection: sqlalchemy.Connection, builds: Collection[int], names: Collection[str]
) -> dict[int, Properties]:
    """Return the properties of builds that have some of them, by a build's id. Blocks.

    :param names: of the properties; all if :data:`ALL` is among them.
    """
    table = Model.build_properties
    query = sqlalchemy.select(table).where(table.c.buildid.in_(builds))
    if ALL not in names:
        query = query.where(table.c.name.in_(names))
    found: dict[int, Properties] = defaultdict(dict)
    for row in connection.execute(query):
        found[row.buildid][row.name] = (json.loads(row.value), row.source)
    return dict(found)
