# SPDX-License-Identifier: GPL-2.0-only
"""Models of what the job API answers: documents are made of them, and so is their description.

They are typed dictionaries, so that mypy compares what ``document.py`` makes with them.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, WithJsonSchema
from typing_extensions import TypedDict

from latent_libvirt.jobs.state import RESULTS, State  # noqa: TC001 - pydantic looks it up

Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
"""A time as RFC 3339 has it, in UTC."""

Url = Annotated[str, WithJsonSchema({"type": "string", "format": "uri"})]

Uuid = Annotated[str, WithJsonSchema({"type": "string", "format": "uuid"})]

Result = Annotated[str, WithJsonSchema({"enum": list(RESULTS)})]


class Log(TypedDict):
    """A log of a step."""

    id: Annotated[int, Field(description="Buildbot's id of the log.")]
    name: Annotated[str, Field(description="Name of the log, such as `stdio`.")]
    url: Annotated[Url, Field(description="Buildbot's page of the log.")]
    raw_url: Annotated[Url, Field(description="Text of the log.")]
    lines: Annotated[int, Field(description="Number of lines so far.")]
    complete: Annotated[bool, Field(description="Whether the log has ended.")]


class Link(TypedDict):
    """A link of a step."""

    name: Annotated[str, Field(description="Name of the link.")]
    url: Annotated[
        str,
        Field(
            description="Address, as the step has set it. It may be relative to Buildbot's UI, and "
            "the code under test may have chosen it."
        ),
    ]


class Step(TypedDict):
    """A step of a build."""

    id: Annotated[int, Field(description="Buildbot's id of the step.")]
    number: Annotated[int, Field(description="Number of the step in its build, from 0.")]
    name: Annotated[str, Field(description="Name of the step.")]
    text: Annotated[str, Field(description="State of the step, for people.")]
    result: Annotated[
        Result | None, Field(description="Result of the step, or null while it runs.")
    ]
    started_at: Annotated[Time | None, Field(description="Time at which the step began.")]
    finished_at: Annotated[Time | None, Field(description="Time at which the step ended.")]
    logs: Annotated[list[Log], Field(description="Logs of the step.")]
    links: Annotated[
        list[Link], Field(description="Links of the step, as to artefacts, 100 at most.")
    ]


class Attempt(TypedDict):
    """A build of a job; there are several if VMs were lost."""

    number: Annotated[int, Field(description="Number of the attempt, from 1.")]
    build: Annotated[int, Field(description="Buildbot's id of the build.")]
    build_number: Annotated[int, Field(description="Number of the build at its builder.")]
    url: Annotated[Url, Field(description="Buildbot's page of the build.")]
    state: Annotated[State, Field(description="State of the attempt.")]
    result: Annotated[
        Result | None,
        Field(description="Result of the build, or null while it runs. `retry` is a lost attempt."),
    ]
    text: Annotated[str, Field(description="State of the build, for people.")]
    master: Annotated[str, Field(description="Name of the master that runs the build.")]
    worker: Annotated[str | None, Field(description="Name of its worker.")]
    host: Annotated[str | None, Field(description="Host of its VM, by the name in `pool.yaml`.")]
    vm: Annotated[str | None, Field(description="Domain of its VM on that host.")]
    vm_id: Annotated[
        str | None, Field(description="Id of its VM, which no other VM of the pool has or had.")
    ]
    image: Annotated[str | None, Field(description="Digest of the VM's base image.")]
    label: Annotated[str | None, Field(description="Label of the VM.")]
    started_at: Annotated[
        Time | None, Field(description="Time at which the build began, before its VM was up.")
    ]
    ready_at: Annotated[Time | None, Field(description="Time at which its VM was ready.")]
    finished_at: Annotated[Time | None, Field(description="Time at which the build ended.")]
    seconds: Annotated[
        dict[str, int],
        Field(
            description="Seconds that the attempt was `starting` and `running`, so far or in all."
        ),
    ]
    phases: Annotated[
        dict[str, float],
        Field(
            description="Phases of its VM's start with their seconds, in order. While the attempt "
            "is `starting`, the last phase goes on and has 0 seconds. `lost` is the time of VMs "
            "that were lost before. It is empty in the first second, and for a VM that has served "
            "another build before."
        ),
    ]
    steps: Annotated[list[Step], Field(description="Steps of the build, without hidden ones.")]


class Callback(TypedDict):
    """A callback and its outcome."""

    state: Annotated[str, Field(description="`pending`, `done` or `given up`.")]
    tries: Annotated[int, Field(description="Number of tries so far.")]
    done_at: Annotated[Time | None, Field(description="Time at which the receiver accepted it.")]
    error: Annotated[str | None, Field(description="Reason why the last try failed.")]


class Summary(TypedDict):
    """A job in a list."""

    uuid: Annotated[Uuid, Field(description="Name of the job.")]
    url: Annotated[Url, Field(description="URL of the job.")]
    builder: Annotated[str, Field(description="Name of its builder.")]
    state: Annotated[State, Field(description="State of the job.")]
    result: Annotated[
        Result | None, Field(description="Result of the job, or null before it has one.")
    ]
    text: Annotated[str, Field(description="State of the job, for people.")]
    build_request: Annotated[int, Field(description="Buildbot's id of the build request.")]
    token: Annotated[str, Field(description="Name of the token that started it.")]
    reason: Annotated[str, Field(description="Reason of the job, for people.")]
    priority: Annotated[int, Field(description="Priority. A higher one starts sooner.")]
    accepted_at: Annotated[Time | None, Field(description="Time at which the job was accepted.")]
    started_at: Annotated[Time | None, Field(description="Time at which its first attempt began.")]
    finished_at: Annotated[Time | None, Field(description="Time at which it got its result.")]
    cancelled_at: Annotated[Time | None, Field(description="Time at which a client cancelled it.")]
    master: Annotated[
        str | None, Field(description="Name of the master that has it, or had it last.")
    ]
    tries: Annotated[int, Field(description="Number of attempts so far.")]


class Job(Summary):
    """The document of a job."""

    build_url: Annotated[
        Url, Field(description="URL that leads to Buildbot's page of the current attempt.")
    ]
    log_url: Annotated[Url, Field(description="URL that leads to the log of the current attempt.")]
    cancelled_by: Annotated[
        str | None, Field(description="Name of the token that cancelled the job.")
    ]
    buildset: Annotated[int, Field(description="Buildbot's id of the buildset.")]
    properties: Annotated[dict[str, Any], Field(description="Properties of the job's builds.")]
    callback: Annotated[
        Callback | None, Field(description="State of the callback, or null if the job has none.")
    ]
    attempts: Annotated[list[Attempt], Field(description="Builds of the job, the first one first.")]


class Page(TypedDict):
    """A page of a list of jobs."""

    jobs: Annotated[list[Summary], Field(description="Jobs of this page, the newest first.")]
    next: Annotated[
        str | None, Field(description="Value of `cursor` for the next page, or null at the end.")
    ]
    next_url: Annotated[Url | None, Field(description="URL of the next page, or null at the end.")]
