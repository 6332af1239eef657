# SPDX-License-Identifier: GPL-2.0-only
"""Models of what the job API answers: documents are made of them, and so is their description.

They are typed dictionaries, so that mypy compares what ``document.py`` makes with them.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import WithJsonSchema
from typing_extensions import TypedDict

from latent_libvirt.jobs.state import RESULTS, State  # noqa: TC001 - pydantic looks it up

Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
"""A time as RFC 3339 has it, in UTC."""

Url = Annotated[str, WithJsonSchema({"type": "string", "format": "uri"})]

Uuid = Annotated[str, WithJsonSchema({"type": "string", "format": "uuid"})]

Result = Annotated[str, WithJsonSchema({"enum": list(RESULTS)})]


class Log(TypedDict):
    """A log of a step."""

    name: str
    url: Url
    raw_url: Url
    lines: int
    complete: bool


class Step(TypedDict):
    """A step of a build."""

    number: int
    name: str
    text: str
    result: Result | None
    started_at: Time | None
    finished_at: Time | None
    logs: list[Log]


class Attempt(TypedDict):
    """A build of a job; there are several if VMs were lost."""

    number: int
    build: int
    build_number: int
    url: Url
    state: State
    result: Result | None
    text: str
    master: str
    worker: str | None
    host: str | None
    vm: str | None
    image: str | None
    label: str | None
    started_at: Time | None
    ready_at: Time | None
    finished_at: Time | None
    seconds: dict[str, int]
    steps: list[Step]


class Callback(TypedDict):
    """What became of a callback."""

    state: str
    tries: int
    done_at: Time | None
    error: str | None


class Summary(TypedDict):
    """A job in a list."""

    uuid: Uuid
    url: Url
    builder: str
    state: State
    result: Result | None
    text: str
    token: str
    reason: str
    priority: int
    accepted_at: Time | None
    started_at: Time | None
    finished_at: Time | None
    cancelled_at: Time | None
    master: str | None
    tries: int


class Job(Summary):
    """The document of a job."""

    build_url: Url
    log_url: Url
    cancelled_by: str | None
    buildset: int
    build_request: int
    properties: dict[str, Any]
    callback: Callback | None
    attempts: list[Attempt]


class Page(TypedDict):
    """A page of a list of jobs, and what leads to the next."""

    jobs: list[Summary]
    next: str | None
    next_url: Url | None
