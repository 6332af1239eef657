# SPDX-License-Identifier: GPL-2.0-only
"""Sums of what builds have used come from a real database, and from nothing that is no record."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields, replace
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import sqlalchemy as sa
from buildbot.db.model import Model
from twisted.internet.defer import Deferred

import memory_database
from latent_libvirt.cli.usage import _print
from latent_libvirt.control.messages import UsageRequest
from latent_libvirt.master.usage import sums
from latent_libvirt.master.usage.record import NAME
from latent_libvirt.status.usage import BuildUsage, UsageReport

GIB = 2**30
USED = BuildUsage("one", "alpha", 4, 8 * GIB, 10.0, 20.0, 2.0, GIB, 1, 2, 3, 4)
SIZES = {"one": (4, 8 * GIB), "two": (1, GIB)}


class Database:
    """A database of Buildbot's with builds of two builders."""

    def __init__(self) -> None:
        self.engine = memory_database.engine(poolclass=sa.pool.StaticPool)
        self.pool = self
        self.pages = 0
        self._number = 0
        with self.engine.begin() as connection:
            for builder, name in enumerate(("check", "nightly"), 1):
                row = {"id": builder, "name": name, "name_hash": name}
                connection.execute(Model.builders.insert().values(**row))

    async def do(self, function: Callable[[sa.Connection], Any]) -> Any:
        self.pages += 1
        with self.engine.begin() as connection:
            return function(connection)

    def add(self, *values: bytes, builder: int = 1, started_at: int = 1000) -> None:
        builds, data = [], []
        for value in values:
            self._number += 1
            shared = {"number": self._number, "masterid": 1, "buildrequestid": 1}
            more = {"state_string": "", "locks_duration_s": 0}
            builds.append(
                {
                    "id": self._number,
                    "builderid": builder,
                    "started_at": started_at,
                    **shared,
                    **more,
                }
            )
            record = {"name": NAME, "value": value, "length": len(value), "source": "test"}
            data.append({"buildid": self._number, **record})
        with self.engine.begin() as connection:
            connection.execute(Model.builds.insert(), builds)
            connection.execute(Model.build_data.insert(), data)

    def report(
        self,
        since: float = 0.0,
        until: float | None = None,
        by: Literal["builder", "label", "host"] = "builder",
    ) -> UsageReport:
        found: list[UsageReport] = []
        master = SimpleNamespace(db=self)
        summing = sums.summed(master, SIZES, UsageRequest(since, until, by))
        Deferred.fromCoroutine(summing).addCallback(found.append)
        return found[0]


@pytest.fixture
def database() -> Iterator[Database]:
    database = Database()
    yield database
    database.engine.dispose()


def value(**changes: Any) -> bytes:
    return json.dumps(asdict(replace(USED, **changes))).encode()


def test_builds_are_added_up_by_builder_the_largest_first(database: Database) -> None:
    database.add(value())
    database.add(value(), value(seconds=20.0, peak_memory=2 * GIB), builder=2)

    nightly, check = database.report().sums

    assert (nightly.name, nightly.builds, check.name, check.builds) == ("nightly", 2, "check", 1)
    assert (nightly.seconds, nightly.vcpu_seconds, nightly.cpu_seconds) == (30.0, 120.0, 40.0)
    assert (nightly.memory_seconds, nightly.peak_memory) == (8 * GIB * 30.0, 2 * GIB)
    assert (nightly.read, nightly.written, nightly.received, nightly.sent) == (2, 4, 6, 8)


@pytest.mark.parametrize("by", ["label", "host"])
def test_builds_are_added_up_by_what_their_records_say(
    database: Database, by: Literal["label", "host"]
) -> None:
    database.add(value(), value(), value(label="two", host="beta"))

    assert [each.builds for each in database.report(by=by).sums] == [2, 1]


def test_only_builds_of_that_time_count(database: Database) -> None:
    for started_at in (10, 20, 30):
        database.add(value(), started_at=started_at)

    (found,) = database.report(since=20, until=30).sums

    assert found.builds == 1


@pytest.mark.parametrize(
    "nonsense", [b"", b"{", b"[]", b"null", b"\xff", b"{}", value().replace(b"20.0", b'"x"')]
)
def test_what_is_no_record_is_left_out(database: Database, nonsense: bytes) -> None:
    database.add(nonsense, value())

    (found,) = database.report().sums

    assert found.builds == 1


NUMBERS = [field.name for field in fields(BuildUsage) if field.type in {"int", "float"}]


ODD = (b"NaN", b"Infinity", b"-5", b"true", b"null", b'"x"', b"1" + b"0" * 400, b"%d" % 2**63)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_record_with_an_odd_number_is_left_out(database: Database, name: str) -> None:
    record = value(**{name: 123_456_789})
    database.add(*(record.replace(b"123456789", odd) for odd in ODD), value())

    (found,) = database.report().sums

    assert (found.builds, found.seconds) == (1, USED.seconds)


def test_the_largest_numbers_add_up_to_what_can_be_shown(database: Database) -> None:
    database.add(*[value(**dict.fromkeys(NUMBERS, 2**63 - 1025))] * 1000)

    report = database.report()

    assert report.sums[0].read == 1000 * (2**63 - 1025)
    json.dumps(asdict(report), allow_nan=False)
    _print(report, "builder")


def test_a_label_that_is_three_times_too_large_is_named(database: Database) -> None:
    database.add(*[value(peak_cpus=1.0, cpu_seconds=5.0)] * sums.ENOUGH)

    memory, vcpus = database.report().advice

    assert memory == (
        "Label one has 8 GiB of memory. None of its 5 builds had more than 1024 MiB in use."
    )
    assert vcpus == "Label one has 4 vCPUs. None of its 5 builds kept more than 1.0 busy."


@pytest.mark.parametrize(
    "more",
    [
        {"peak_memory": 3 * GIB, "peak_cpus": 2.0},
        {"memory": 4 * GIB},
        {"label": "gone"},
        {"peak_memory": 3 * GIB, "cpu_seconds": 15.0, "peak_cpus": 0.0},
    ],
    ids=["needed", "of another size", "not configured", "on average"],
)
def test_no_other_label_is(database: Database, more: dict[str, Any]) -> None:
    base = {"peak_cpus": 1.0, "cpu_seconds": 5.0}
    database.add(*[value(**base)] * (sums.ENOUGH - 1), value(**{**base, **more}))

    assert database.report().advice == ()


def test_a_month_of_builds_is_read_in_pages(database: Database) -> None:
    database.add(*[value()] * 12_000)

    (found,) = database.report().sums

    assert found.builds == 12_000
    assert database.pages == 4
