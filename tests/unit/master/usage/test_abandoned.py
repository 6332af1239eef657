# SPDX-License-Identifier: GPL-2.0-only
"""A build whose master was killed is charged for the VM that it left, from a real database."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from buildbot.db.model import Model
from buildbot.process.results import RETRY, SUCCESS
from twisted.internet.defer import Deferred

import memory_database
from latent_libvirt.host.domains.domain_xml import VmRecord
from latent_libvirt.host.meters.usage import Reading
from latent_libvirt.master.usage import abandoned
from latent_libvirt.master.usage.record import NAME
from latent_libvirt.pool.room.amounts import Size
from latent_libvirt.status.usage import BuildUsage

BEGAN = 100_000.0
RECORD = VmRecord(
    "owner", "m", "pool", "aa", "one", "w", "image", datetime.fromtimestamp(BEGAN, UTC).isoformat()
)
READING = Reading(1.0, cpu=30.0, memory=5, read=100, written=200, received=300, sent=400)
USED = BuildUsage("one", "alpha", 1, 2, 9.0, 20.0, 0.0, 4, 10, 20, 30, 40, vm_id="aa")


class Master:
    """A master with a database that has the masters ``m`` and ``n``, and the worker ``w``."""

    def __init__(self) -> None:
        self.engine = memory_database.engine(poolclass=sa.pool.StaticPool)
        self.stored: dict[int, Any] = {}
        self.properties: dict[int, Any] = {}
        self.db = SimpleNamespace(
            pool=self, builds=SimpleNamespace(setBuildProperty=self._set_property)
        )
        self.data = SimpleNamespace(updates=SimpleNamespace(setBuildData=self._set))
        with self.engine.begin() as connection:
            worker = {"id": 1, "name": "w", "info": {}, "paused": 0, "graceful": 0}
            connection.execute(Model.workers.insert().values(**worker))
            for number, name in enumerate("mn", 1):
                row = {"id": number, "name": name, "name_hash": name, "last_active": 0, "active": 1}
                connection.execute(Model.masters.insert().values(**row))

    async def do(self, function: Any) -> Any:
        with self.engine.begin() as connection:
            return function(connection)

    async def _set(self, build: int, name: str, value: bytes, _source: str) -> None:
        assert name == NAME
        self.stored[build] = json.loads(value)

    async def _set_property(self, build: int, _name: str, value: Any, _source: str) -> None:
        self.properties[build] = value

    def build(
        self,
        number: int,
        results: int | None,
        *,
        at: float = BEGAN,
        master: int = 1,
        used: BuildUsage | bytes | None = None,
        vm: str = "aa",
    ) -> None:
        row = {"id": number, "number": number, "builderid": 1, "buildrequestid": 1, "workerid": 1}
        more = {"masterid": master, "started_at": int(at), "results": results, "state_string": ""}
        with self.engine.begin() as connection:
            connection.execute(Model.builds.insert().values(**row, **more, locks_duration_s=0))
            if used is not None:
                value = used if isinstance(used, bytes) else json.dumps(asdict(used)).encode()
                data = {"name": NAME, "value": value, "length": len(value), "source": "test"}
                connection.execute(Model.build_data.insert().values(buildid=number, **data))
            named = {"name": "vm_id", "value": json.dumps(vm), "source": "test"}
            connection.execute(Model.build_properties.insert().values(buildid=number, **named))

    def charge(self, *, after: float = 50.0) -> None:
        charging = abandoned.charge(
            self, RECORD, READING, host="alpha", size=Size(1, 2), now=BEGAN + after
        )
        assert Deferred.fromCoroutine(charging).called


def test_the_last_build_of_its_worker_is_charged_from_the_start_of_the_vm() -> None:
    master = Master()
    master.build(1, SUCCESS, at=BEGAN - 100)
    master.build(2, RETRY, at=BEGAN + 10)

    master.charge()

    expected = asdict(
        replace(
            USED,
            seconds=50.0,
            cpu_seconds=30.0,
            peak_memory=5,
            read=100,
            written=200,
            received=300,
            sent=400,
        )
    )
    assert master.stored == master.properties == {2: expected}


def test_what_earlier_builds_of_the_vm_have_used_is_theirs() -> None:
    master = Master()
    master.build(1, SUCCESS, used=USED)
    master.build(2, SUCCESS, used=replace(USED, vm_id="bb"), vm="bb")
    master.build(3, None, at=BEGAN + 20)

    master.charge()

    found = master.stored[3]
    assert (found["seconds"], found["cpu_seconds"]) == (30.0, 10.0)
    assert [found[name] for name in ("read", "written", "received", "sent")] == [90, 180, 270, 360]


def test_a_build_that_was_not_cut_off_is_charged_already() -> None:
    master = Master()
    master.build(1, SUCCESS)

    master.charge()

    assert not master.stored


def test_builds_of_another_master_and_of_another_time_are_not_meant() -> None:
    master = Master()
    master.build(1, RETRY, master=2)
    master.build(2, RETRY, at=BEGAN - 3600)

    master.charge()

    assert not master.stored


def test_a_later_build_of_the_worker_that_runs_elsewhere_is_not_meant() -> None:
    master = Master()
    master.build(1, RETRY, at=BEGAN)
    master.build(2, None, at=BEGAN + 10, vm="bb")

    master.charge()

    assert list(master.stored) == [1]


def test_a_build_that_has_ended_elsewhere_leaves_the_one_that_was_cut_off() -> None:
    master = Master()
    master.build(1, RETRY)
    master.build(2, SUCCESS, vm="bb", used=replace(USED, vm_id="bb"))

    master.charge()

    assert list(master.stored) == [1]


def test_a_vm_that_no_build_names_is_charged_to_none() -> None:
    master = Master()
    master.build(1, RETRY, vm="bb")

    master.charge()

    assert not master.stored


def test_a_build_that_only_its_record_connects_with_the_vm_is_charged() -> None:
    master = Master()
    master.build(1, RETRY, used=USED, vm="")

    master.charge()

    assert list(master.stored) == [1]


@pytest.mark.parametrize(
    "odd",
    [
        b"",
        b"{",
        b"\xff",
        b"null",
        b'{"vm_id": "aa"}',
        json.dumps(asdict(USED)).encode().replace(b"20.0", b'"x"'),
        json.dumps(asdict(USED)).encode().replace(b"20.0", b"null"),
        json.dumps(asdict(USED)).encode().replace(b"20.0", b"Infinity"),
        json.dumps(asdict(USED)).encode().replace(b": 10,", b": 1" + b"0" * 400 + b","),
    ],
)
@pytest.mark.parametrize("build", [1, 2])
def test_an_odd_record_of_the_vm_counts_as_none(odd: bytes, build: int) -> None:
    master = Master()
    for number, results in enumerate((SUCCESS, RETRY), 1):
        master.build(number, results, used=odd if number == build else None)

    master.charge()

    assert (master.stored[2]["cpu_seconds"], master.stored[2]["read"]) == (30.0, 100)
