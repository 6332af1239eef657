# SPDX-License-Identifier: GPL-2.0-only
"""Where a job is on its way."""

from __future__ import annotations

from dataclasses import replace

import pytest
from buildbot.process.results import RETRY, SUCCESS, Results

from job_records import JOB, attempt, claimed, preparation, step
from latent_libvirt.jobs.queries import Job
from latent_libvirt.jobs.state import (
    RESULTS,
    State,
    attempt_state,
    explanation,
    master_name,
    state_of,
)

NEW, LATER = 1001.0, 1100.0

LOST = attempt(preparation(), result=RETRY)

CASES = [
    (JOB, NEW, State.ACCEPTED, "accepted"),
    (JOB, LATER, State.WAITING, "waits for room for its VM"),
    (replace(JOB, can_run=False), NEW, State.ACCEPTED, "a master that has the builder check"),
    (claimed(), LATER, State.STARTING, "srv on alpha starts its VM"),
    (claimed(attempt()), LATER, State.STARTING, "starts its VM"),
    (claimed(attempt(preparation())), LATER, State.STARTING, "starts its VM"),
    (claimed(attempt(preparation(SUCCESS))), LATER, State.RUNNING, "building"),
    (claimed(attempt(preparation(SUCCESS), step())), LATER, State.RUNNING, "building"),
    (claimed(attempt(preparation(SUCCESS), result=SUCCESS)), LATER, State.RUNNING, "building"),
    (replace(JOB, attempts=(LOST,)), NEW, State.WAITING, "its last attempt was lost"),
    (claimed(LOST), LATER, State.STARTING, "starts its VM"),
    (claimed(LOST, attempt(preparation(SUCCESS))), LATER, State.RUNNING, "building"),
    (replace(JOB, finished_at=1050, result=SUCCESS), LATER, State.FINISHED, "finished: success"),
]


@pytest.mark.parametrize(("job", "now", "state", "text"), CASES)
def test_a_job_is_where_the_database_says(job: Job, now: float, state: State, text: str) -> None:
    assert state_of(job, now) is state
    assert text in explanation(job, now)


def test_an_attempt_that_is_lost_before_its_worker_was_there_never_ran() -> None:
    assert LOST.ready_at is None
    assert attempt_state(LOST) is State.FINISHED


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("ci.example:/srv/masters/first", "first on ci.example"),
        ("ci.example:/srv/masters/first/", "first on ci.example"),
        ("ci.example:first", "first on ci.example"),
        ("ci.example:/", "ci.example:/"),
        ("a master", "a master"),
    ],
)
def test_people_call_a_master_by_its_directory_and_host(name: str, shown: str) -> None:
    assert master_name(name) == shown


def test_the_names_of_results_are_buildbots() -> None:
    assert tuple(Results) == RESULTS
