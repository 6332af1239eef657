# SPDX-License-Identifier: GPL-2.0-only
"""Storage of a build's properties: all that have changed, in one transaction.

Buildbot 4.3 stores each property in a separate transaction of two statements. That is a third of
all statements of a short build. The data API's ``setBuildProperties`` does it, and this stands in
its place on a master with a pool. What is stored and which event follows is the same.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from typing import Any, Final
from weakref import WeakValueDictionary

import sqlalchemy
from buildbot.data.properties import Properties
from buildbot.db.builds import BuildsConnectorComponent
from buildbot.db.model import Model
from twisted.internet.defer import Deferred, DeferredLock, maybeDeferred

from latent_libvirt.upstream import relied_on

RELIED_ON: Final = (
    (Properties, "setBuildProperties"),
    (Properties, "generateUpdateEvent"),
    (BuildsConnectorComponent, "setBuildProperty"),
    (BuildsConnectorComponent, "checkLength"),
)

Sourced = Mapping[str, tuple[Any, str]]
"""Properties by name, each with its value and its source."""

Digests = Mapping[str, bytes]
"""Properties by name, each with what only the same value and source have: a guest can make a value
as long as it likes, and many builds are remembered."""

Stored = OrderedDict[int, Digests]
"""By build, what this master has stored: no other master has the build."""

_TABLE: Final = Model.build_properties

_turns: Final[WeakValueDictionary[int, DeferredLock]] = WeakValueDictionary()
"""The locks of the builds whose properties are being stored."""

_REMEMBERED: Final = 4096
"""Of how many builds it is remembered what was stored: more than run at once."""


def install(master: Any) -> None:
    """Store the properties of builds of *master* like that from now on."""
    if relied_on.are_there(
        RELIED_ON, does="stores properties", otherwise="each takes a separate transaction"
    ):
        master.data.updates.setBuildProperties = partial(
            _set_build_properties, master, OrderedDict()
        )


def _set_build_properties(
    master: Any, stored: Stored, buildid: int, properties: Any
) -> Deferred[None]:
    return Deferred.fromCoroutine(_store(master, stored, buildid, properties.getProperties()))


async def _store(master: Any, stored: Stored, buildid: int, properties: Any) -> None:
    # Two that do not see each other's rows would both add them. Only this master has the build.
    async with _turns.setdefault(buildid, DeferredLock()):
        await _store_now(master, stored, buildid, properties)


async def _store_now(master: Any, stored: Stored, buildid: int, properties: Any) -> None:
    wanted: Sourced = await properties.render(properties.asDict())
    for name, (_value, source) in wanted.items():
        master.db.builds.checkLength(_TABLE.c.name, name)
        master.db.builds.checkLength(_TABLE.c.source, source)
    kept = stored.pop(buildid, None)  # what fails halfway is not remembered
    changed, now = await master.db.pool.do_with_transaction(store, buildid, wanted, kept)
    stored[buildid] = now
    if len(stored) > _REMEMBERED:
        stored.popitem(last=False)
    if changed:
        announce = master.data.getResourceType("property").generateUpdateEvent
        # Buildbot's simple message queue returns nothing.
        await maybeDeferred(announce, buildid, {name: wanted[name] for name in changed})


def store(
    connection: sqlalchemy.Connection, buildid: int, wanted: Sourced, kept: Digests | None = None
) -> tuple[list[str], Digests]:
    """Store what a build does not have like that. Blocks.

    :param kept: what the build has; ``None`` if nobody knows.
    :return: the names of what was stored, and what the build has now.
    """
    if kept is None:
        of_build = sqlalchemy.select(_TABLE).where(_TABLE.c.buildid == buildid)
        kept = {row.name: _digest(row.value, row.source) for row in connection.execute(of_build)}
    texts = {name: (json.dumps(value), source) for name, (value, source) in wanted.items()}
    now = {name: _digest(*text) for name, text in texts.items()}
    changed = {name: texts[name] for name in texts if kept.get(name) != now[name]}
    _add(connection, buildid, {name: changed[name] for name in changed if name not in kept})
    _change(connection, buildid, {name: changed[name] for name in changed if name in kept})
    return list(changed), {**kept, **now}


def _digest(value: str, source: str) -> bytes:
    return hashlib.sha256(json.dumps([value, source]).encode()).digest()


def _add(connection: sqlalchemy.Connection, buildid: int, texts: Sourced) -> None:
    if texts:
        rows = [
            {"buildid": buildid, "name": name, "value": value, "source": source}
            for name, (value, source) in texts.items()
        ]
        connection.execute(_TABLE.insert(), rows)


def _change(connection: sqlalchemy.Connection, buildid: int, texts: Sourced) -> None:
    for name, (value, source) in texts.items():
        mine = (_TABLE.c.buildid == buildid) & (_TABLE.c.name == name)
        connection.execute(_TABLE.update().where(mine).values(value=value, source=source))
