# SPDX-License-Identifier: GPL-2.0-only
"""A job as JSON: what its URL answers, what lists show, and what callbacks get."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from latent_libvirt.jobs.state import State, attempt_state, explanation, result_name, state_of

if TYPE_CHECKING:
    from latent_libvirt.jobs import models
    from latent_libvirt.jobs.queries import (
        Attempt,
        Callback,
        Job,
        Log,
        Step,
    )


@dataclass(frozen=True)
class Addresses:
    """Addresses that a document names.

    :param jobs: the URL of ``/jobs``, without a slash at its end.
    :param buildbot: the URL of Buildbot's UI, with one.
    """

    jobs: str
    buildbot: str

    def job(self, uuid: str) -> str:
        """Return the one URL of a job."""
        return f"{self.jobs}/{uuid}"

    def build(self, attempt: Attempt) -> str:
        """Return where Buildbot shows a build."""
        return f"{self.buildbot}#/builders/{attempt.builder_id}/builds/{attempt.number}"

    def log(self, attempt: Attempt, step: Step, log: Log) -> str:
        """Return where Buildbot shows a log."""
        return f"{self.build(attempt)}/steps/{step.number}/logs/{log.slug}"

    def raw_log(self, log: Log) -> str:
        """Return where the text of a log is."""
        return f"{self.buildbot}api/v2/logs/{log.id}/raw"


def summary(job: Job, where: Addresses, now: float) -> models.Summary:
    """Return what a list says of a job."""
    started_at = job.attempts[0].started_at if job.attempts else None
    return {
        "uuid": job.uuid,
        "url": where.job(job.uuid),
        "builder": job.builder,
        "state": state_of(job, now),
        "result": result_name(job.result),
        "text": explanation(job, now),
        "build_request": job.build_request,
        "token": job.token,
        "reason": job.reason,
        "priority": job.priority,
        "accepted_at": timestamp(job.accepted_at),
        "started_at": timestamp(started_at),
        "finished_at": timestamp(job.finished_at),
        "cancelled_at": timestamp(job.cancelled_at),
        "master": job.attempts[-1].master if job.attempts else job.claimed_by,
        "tries": len(job.attempts),
    }


def full(job: Job, where: Addresses, now: float) -> models.Job:
    """Return the document of a job."""
    url = where.job(job.uuid)
    return {
        **summary(job, where, now),
        "build_url": f"{url}/build",
        "log_url": f"{url}/log",
        "cancelled_by": job.cancelled_by,
        "buildset": job.buildset,
        "properties": dict(job.properties),
        "callback": _callback(job.callback),
        "attempts": [
            _attempt(number, attempt, where, now)
            for number, attempt in enumerate(job.attempts, start=1)
        ],
    }


def timestamp(seconds: int | None) -> str | None:
    """Return a time as RFC 3339 has it."""
    return None if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%FT%TZ}"


def _callback(callback: Callback | None) -> models.Callback | None:
    """Say what became of a callback; its URL may hold what is not for everybody."""
    if callback is None:
        return None
    done = callback.done_at is not None
    pending = callback.due is not None
    return {
        "state": "done" if done else "pending" if pending else "given up",
        "tries": callback.tries,
        "done_at": timestamp(callback.done_at),
        "error": callback.error,
    }


def _attempt(number: int, attempt: Attempt, where: Addresses, now: float) -> models.Attempt:
    return {
        "number": number,
        "build": attempt.id,
        "build_number": attempt.number,
        "url": where.build(attempt),
        "state": attempt_state(attempt),
        "result": result_name(attempt.result),
        "text": attempt.text,
        "master": attempt.master,
        "worker": attempt.worker,
        "host": attempt.vm.get("vm_host"),
        "vm": attempt.vm.get("vm_domain"),
        "vm_id": attempt.vm.get("vm_id"),
        "image": attempt.vm.get("vm_image"),
        "label": attempt.vm.get("vm_label"),
        "started_at": timestamp(attempt.started_at),
        "ready_at": timestamp(attempt.ready_at),
        "finished_at": timestamp(attempt.finished_at),
        "seconds": _seconds(attempt, now),
        "phases": dict(attempt.vm.get("vm_phases") or {}),
        "steps": [_step(attempt, step, where) for step in attempt.steps if not step.hidden],
    }


def _seconds(attempt: Attempt, now: float) -> dict[str, int]:
    """Return how long each phase of a build took, or takes so far."""
    end = attempt.finished_at if attempt.finished_at is not None else int(now)
    if attempt.ready_at is None:
        return {State.STARTING: end - attempt.started_at}
    return {
        State.STARTING: attempt.ready_at - attempt.started_at,
        State.RUNNING: end - attempt.ready_at,
    }


def _step(attempt: Attempt, step: Step, where: Addresses) -> models.Step:
    return {
        "id": step.id,
        "number": step.number,
        "name": step.name,
        "text": step.text,
        "result": result_name(step.result),
        "started_at": timestamp(step.started_at),
        "finished_at": timestamp(step.finished_at),
        "logs": [
            {
                "id": log.id,
                "name": log.name,
                "url": where.log(attempt, step, log),
                "raw_url": where.raw_log(log),
                "lines": log.lines,
                "complete": log.complete,
            }
            for log in step.logs
        ],
        "links": [{"name": link.name, "url": link.url} for link in step.links],
    }
