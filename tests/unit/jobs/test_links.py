# SPDX-License-Identifier: GPL-2.0-only
"""Which job a build belongs to."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from buildbot.db.model import Model
from buildbot.process.properties import Properties
from twisted.internet.defer import Deferred, succeed

from job_records import UUID, Tables
from latent_libvirt.jobs.links import JobLinks, find_job
from latent_libvirt.jobs.table import jobs


class Builds:
    """Adds builds, each with a buildset of its own."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self._master = tables.add_master("alpha")
        self._builder = tables.add_builder("check", self._master)
        self._count = 0

    def add(self, *, job: str | None = None, **buildset: int) -> int:
        """Add a build, of a job or of a buildset with these columns."""
        self._count += 1
        set_ = self.tables.add(Model.buildsets, submitted_at=0, complete=0, **buildset)
        if job is not None:
            self.tables.add(
                jobs,
                uuid=job,
                buildsetid=set_,
                digest="",
                token="",
                accepted_at=0,
                callback_tries=0,
            )
        request = self.tables.add(
            Model.buildrequests, buildsetid=set_, builderid=self._builder, submitted_at=0
        )
        return self.tables.add(
            Model.builds,
            number=self._count,
            builderid=self._builder,
            buildrequestid=request,
            masterid=self._master,
            started_at=0,
            locks_duration_s=0,
            state_string="",
        )


@pytest.fixture
def builds(tables: Tables) -> Builds:
    return Builds(tables)


def test_a_build_of_a_job_and_all_that_descend_from_it_belong_to_it(builds: Builds) -> None:
    own = builds.add(job=UUID)
    child = builds.add(parent_buildid=own)
    grandchild = builds.add(parent_buildid=child)
    rebuilt = builds.add(rebuilt_buildid=child)
    connection = builds.tables.connection

    assert {find_job(connection, b) for b in (own, child, grandchild, rebuilt)} == {UUID}


def test_others_belong_to_none(builds: Builds) -> None:
    builds.add(job=UUID)
    forced = builds.add()
    assert find_job(builds.tables.connection, builds.add(parent_buildid=forced)) is None
    assert find_job(builds.tables.connection, 999) is None


def test_a_family_without_end_is_given_up(builds: Builds) -> None:
    build = builds.add()
    with builds.tables.connection.begin():
        builds.tables.connection.execute(Model.buildsets.update().values(parent_buildid=build))
    assert find_job(builds.tables.connection, build) is None


def set_by_links(monkeypatch: pytest.MonkeyPatch, **before: str) -> list[tuple[str, object]]:
    """Let a build with these properties begin; return what was stored of it, with each source."""
    build: Any = Properties()
    build.update(before, "Scheduler")
    build.buildid = 7
    build.getProperties = lambda: build
    stored: list[tuple[str, object]] = []

    def store(_build: int, properties: Any) -> Deferred[None]:
        stored.extend(properties.asDict().items())
        return succeed(None)

    updates = SimpleNamespace(setBuildProperties=store)
    links: Any = JobLinks()
    links._url = None
    master = SimpleNamespace(
        botmaster=SimpleNamespace(builders={"check": SimpleNamespace(building=[build])}),
        config=SimpleNamespace(buildbotURL="https://ci/"),
        data=SimpleNamespace(updates=updates),
    )
    monkeypatch.setattr(JobLinks, "master", master)
    Deferred.fromCoroutine(links._link(7)).addErrback(lambda failure: failure.raiseException())
    return stored


def test_a_build_that_has_its_links_from_its_buildset_is_not_stored_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = f"https://ci/jobs/{UUID}"
    assert set_by_links(monkeypatch, job_uuid=UUID, job_url=url) == []
    changed = set_by_links(monkeypatch, job_uuid=UUID, job_url="https://old/")
    assert ("job_url", (url, "job-links")) in changed
