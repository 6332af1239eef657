# SPDX-License-Identifier: GPL-2.0-only
"""A real Buildbot master in the process of the tests, so that a test can count what it asks.

Its pool is real, too, except that its hosts are never connected to, and that VMs never come up.
"""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from buildbot.config.master import MasterConfig
from buildbot.data.masters import Master
from buildbot.interfaces import IConfigLoader
from buildbot.master import BuildMaster
from buildbot.plugins import schedulers
from buildbot.process.builder import Builder
from sqlalchemy import text
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from zope.interface import implementer

from latent_libvirt import Pool
from latent_libvirt.config import PoolConfig
from latent_libvirt.host.host import Host
from latent_libvirt.pool.vm_pool import VmPool

reactor: Any = _reactor
DEADLINE = 120.0


@implementer(IConfigLoader)
class _Loader:
    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config

    def loadConfig(self) -> MasterConfig:  # noqa: N802 - Buildbot's
        return MasterConfig.loadFromDict(self._config, "test")


class Running:
    """A master that runs, and what was counted in it."""

    def __init__(self, master: Any, pool: Any) -> None:
        self.master = master
        self.pool = pool
        self.started: list[str] = []
        """The labels of the builds that were given a VM, which never comes up."""
        self.started_at: list[float] = []
        self.questions = 0
        """How often Buildbot asked whether a build may start."""
        self._sourcestamp = {"codebase": "", "repository": "", "project": "", "branch": None}

    async def request(self, builder: str, priority: int = 0, **properties: object) -> int:
        """Add a request as a scheduler does; return the id of its buildset."""
        return await self.request_as(builder, properties, priority=priority)

    async def request_as(
        self, builder: str, properties: dict[str, object], *, priority: int = 0, **how: object
    ) -> int:
        """Add a request with whatever else Buildbot's own function takes."""
        builderid = await self.master.botmaster.builders[builder].getBuilderId()
        return await self.request_of(builderid, properties, priority=priority, **how)

    async def request_of(
        self,
        builderid: int,
        properties: dict[str, object] | None = None,
        *,
        priority: int = 0,
        **how: object,
    ) -> int:
        """Add a request for a builder that this master need not have."""
        found = await self.master.data.updates.addBuildset(
            waited_for=bool(how.get("parent_buildid")),
            builderids=[builderid],
            sourcestamps=[{**self._sourcestamp, "revision": None}],
            properties={name: (value, "test") for name, value in (properties or {}).items()},
            reason="test",
            priority=priority,
            **how,
        )
        return int(found[0])

    async def fill(self, builder: str, count: int, **properties: object) -> None:
        """Add many requests, as a scheduler does, but without telling anybody."""
        first = await self.request_as(builder, properties)
        await self.master.db.pool.do(_copies, first, count - 1)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until *condition* holds."""
        ends = reactor.seconds() + DEADLINE
        while not condition():
            assert reactor.seconds() < ends, "it does not come true"
            await deferLater(reactor, 0.02, lambda: None)

    async def tried(self, *builders: str) -> None:
        """Let the distributor try *builders*, all if none is named; return when it is done."""
        distributor = self.master.botmaster.brd
        await distributor.maybeStartBuildsOn(list(builders or self.master.botmaster.builderNames))
        await self.until(lambda: not distributor.active and not distributor._pending_builders)


@asynccontextmanager
async def master_running(
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    pool_config: dict[str, Any],
    configure: Callable[[Pool], dict[str, Any]],
) -> AsyncIterator[Running]:
    """Run a master with a pool for the length of a ``with`` block.

    :param configure: returns the rest of the master's configuration.
    """
    pool = Pool(PoolConfig.model_validate(pool_config))
    rest = configure(pool)
    names = [builder.name for builder in rest["builders"]]
    config = {
        "services": [pool],
        "schedulers": [schedulers.Triggerable(name="any", builderNames=names)],
        "protocols": {"pb": {"port": "tcp:0:interface=127.0.0.1"}},
        "db": {"db_url": "sqlite://"},
        "buildbotNetUsageData": None,
        **rest,
    }
    master = BuildMaster(str(directory), reactor=reactor, config_loader=_Loader(config))
    running = Running(master, pool)
    _count(running, monkeypatch)
    master.config.db.db_url = "sqlite://"
    await master.db.setup(check_version=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Buildbot's use of alembic
        await master.db.model.upgrade()
    monkeypatch.setattr(master.db, "setup", lambda: None)
    monkeypatch.setattr(reactor, "stop", lambda: pytest.fail("the master cannot start"))
    await master.startService()
    running.pool = master.service_manager.namedServices[pool.name]
    try:
        yield running
    finally:
        await master.stopService()
        await master.db.pool.stop()


def _copies(connection: Any, buildset: int, count: int) -> None:
    """Copy a set of requests; blocks."""
    (last,) = connection.execute(text("SELECT max(id) FROM buildsets")).fetchone()
    numbers = [{"old": buildset, "new": last + 1 + number} for number in range(count)]
    for table, columns in (
        ("buildsets", "id, reason, submitted_at, complete, results"),
        ("buildset_properties", "buildsetid, property_name, property_value"),
        ("buildset_sourcestamps", "buildsetid, sourcestampid"),
        (
            "buildrequests",
            "buildsetid, builderid, priority, complete, results, submitted_at, waited_for",
        ),
    ):
        key, rest = columns.split(", ", 1)
        statement = (
            f"INSERT INTO {table} ({key}, {rest}) SELECT :new, {rest} FROM {table}"
            f" WHERE {key} = :old"
        )
        connection.execute(text(statement), numbers)
    connection.commit()


def _count(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Builder.canStartBuild

    def asked(*args: Any) -> Any:
        running.questions += 1
        return original(*args)

    async def never(_pool: VmPool, lease: Any, _identify: Any) -> None:
        running.started.append(lease.label_name)
        running.started_at.append(reactor.seconds())
        await Deferred()

    asked.__dict__.update(original.__dict__)
    monkeypatch.setattr(Builder, "canStartBuild", asked)
    monkeypatch.setattr(VmPool, "bring_up", never)
    monkeypatch.setattr(Host, "start", lambda _host: None)
    monkeypatch.setattr(Host, "usable", True)
    monkeypatch.setattr(Host, "discard", _gone)
    # Patched for PostgreSQL where a test of several masters has run in this process.
    monkeypatch.setattr(Master, "_masterDeactivatedHousekeeping", lambda *_: succeed(None))


async def _gone(host: Host, machine: Any) -> None:
    """Take off the record what never was a VM."""
    host.live.remove(machine)
