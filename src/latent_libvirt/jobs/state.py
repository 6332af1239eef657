# SPDX-License-Identifier: GPL-2.0-only
"""State of a job, derived from its rows in the database (pure)."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from buildbot.process.results import RETRY

if TYPE_CHECKING:
    from latent_libvirt.jobs.queries import (
        Attempt,
        Job,
    )

RESULTS = ("success", "warnings", "failure", "skipped", "exception", "retry", "cancelled")
"""Buildbot's, in the order of its numbers."""

JUST_ACCEPTED = 2
"""Seconds in which masters take a job that they have room for."""


class State(StrEnum):
    """The states of a job, in their order; a lost VM leads back to ``waiting``."""

    ACCEPTED = "accepted"
    """It is in the database: it will have a result."""
    WAITING = "waiting"
    """No master has room for its VM."""
    STARTING = "starting"
    """A master has taken it, and starts its VM."""
    RUNNING = "running"
    """Its steps run."""
    FINISHED = "finished"
    """It has its result."""


def result_name(result: int | None) -> str | None:
    """Return one of :data:`RESULTS`."""
    return None if result is None else RESULTS[result]


def state_of(job: Job, now: float) -> State:
    """Return where *job* is.

    :param now: seconds since the epoch.
    """
    if job.finished_at is not None:
        return State.FINISHED
    last = job.attempts[-1] if job.attempts else None
    if last is not None and last.result != RETRY:
        # One that has just ended is not over until its master has said what the job's result is.
        return State.STARTING if attempt_state(last) is State.STARTING else State.RUNNING
    if job.claimed_by is not None:
        return State.STARTING
    is_new = last is None and now - job.accepted_at < JUST_ACCEPTED
    return State.ACCEPTED if is_new else State.WAITING


def attempt_state(attempt: Attempt) -> State:
    """Return where one build of a job is."""
    if attempt.finished_at is not None:
        return State.FINISHED
    return State.STARTING if attempt.ready_at is None else State.RUNNING


def master_name(name: str) -> str:
    """Return what people call a master: Buildbot's name for it is ``HOST:DIRECTORY``.

    Buildbot's pages call it the same (``masterName`` in ``words.js``).
    """
    host, _, path = name.partition(":")
    directory = path.rstrip("/").rpartition("/")[2]
    return f"{directory} on {host}" if directory else name


def explanation(job: Job, now: float) -> str:
    """Say in a sentence what is going on, for people."""
    match state_of(job, now):
        case State.FINISHED:
            return f"finished: {result_name(job.result)}"
        case State.RUNNING:
            return job.attempts[-1].text
        case State.STARTING:
            return f"{master_name(job.claimed_by or 'a master')} starts its VM"
        case waiting:
            return _what_it_waits_for(job, is_new=waiting is State.ACCEPTED)


def _what_it_waits_for(job: Job, *, is_new: bool) -> str:
    if not job.can_run:
        return f"waits until a master that has the builder {job.builder} is back"
    if is_new:
        return "accepted"
    lost = "its last attempt was lost; " if job.attempts else ""
    return f"{lost}waits for room for its VM"
