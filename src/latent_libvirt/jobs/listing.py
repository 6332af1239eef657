# SPDX-License-Identifier: GPL-2.0-only
"""Lists of jobs: what can be asked for, and how a page leads to the next.

A page begins after the last job of the one before, not at a number of jobs: so none is shown twice
or left out however many come in the meantime.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal, Self

import sqlalchemy
from buildbot.db.model import Model
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from latent_libvirt.jobs import strict_json
from latent_libvirt.jobs.queries import (
    load,
    select_jobs,
)
from latent_libvirt.jobs.state import RESULTS
from latent_libvirt.jobs.table import jobs as jobs_table
from latent_libvirt.jobs.web.members import faults_in, without_nul, written
from latent_libvirt.jobs.web.problems import RefusedError
from latent_libvirt.plain_text import strict_values

if TYPE_CHECKING:
    from latent_libvirt.jobs.queries import (
        Job,
    )
    from latent_libvirt.jobs.web.members import Fault

DEFAULT_LIMIT = 50
LARGEST_LIMIT = 500
_LONGEST_NAME = 80
_CURSOR = re.compile("[0-9]{1,9}")

_Text = Annotated[str, Field(max_length=256), without_nul]
_Moment = Annotated[datetime, written(strict_values.moment)]
_Number = Annotated[int, written(strict_values.whole_number)]


def _cursor(text: str) -> str:
    if not _CURSOR.fullmatch(text):
        raise ValueError("must be the 'next' of another page")
    return text


class Filters(BaseModel):
    """Filters of a list of jobs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    builder: _Text | None = Field(None, description="Only jobs of this builder.")
    token: _Text | None = Field(None, description="Only jobs of the token of this name.")
    state: Literal["unfinished", "waiting", "running", "finished"] | None = Field(
        None,
        description="Only jobs in this state. `waiting` includes accepted jobs, and `running` "
        "includes starting ones. `unfinished` includes all of these.",
    )
    with_property: _Text | None = Field(
        None,
        alias="property",
        description="Only jobs with this property, `NAME`, or with this value of it, `NAME=VALUE`. "
        "A number is found as text and as a number.",
    )
    result: Literal[RESULTS] | None = Field(None, description="Only jobs with this result.")  # type: ignore[valid-type]
    since: _Moment | None = Field(
        None, description="Only jobs accepted at this time or later (RFC 3339)."
    )
    until: _Moment | None = Field(
        None, description="Only jobs accepted before this time (RFC 3339)."
    )
    limit: Annotated[_Number, Field(ge=1, le=LARGEST_LIMIT)] = Field(
        DEFAULT_LIMIT,
        description=f"Jobs of a page, {DEFAULT_LIMIT} by default and {LARGEST_LIMIT} at most.",
    )
    cursor: Annotated[str, written(_cursor)] | None = Field(
        None, description="Start of the page, `next` of the page before it."
    )

    @classmethod
    def parse(cls, arguments: Mapping[str, list[str]]) -> Self:
        """Return what the arguments of a URL ask for.

        :raises RefusedError: 400.
        """
        if twice := [name for name, values in arguments.items() if len(values) > 1]:
            raise _invalid([f"{name[:_LONGEST_NAME]}: it is given twice" for name in twice])
        try:
            return cls.model_validate({name: values[0] for name, values in arguments.items()})
        except ValidationError as error:
            faults = faults_in(error, none_such="there is no such argument")
            raise _invalid([f"{_name(fault)}: {fault.what}" for fault in faults]) from None

    @property
    def for_next_page(self) -> dict[str, str]:
        """The arguments that were given, without where the page begins."""
        given = self.model_dump(mode="json", by_alias=True, exclude={"cursor"}, exclude_unset=True)
        return {name: str(value) for name, value in given.items() if value is not None}


def _name(fault: Fault) -> str:
    """Return the argument that is meant, of which a client may have written any name."""
    return ".".join(map(str, fault.where))[:_LONGEST_NAME]


def _invalid(faults: list[str]) -> RefusedError:
    what = "jobs cannot be listed by this"
    return RefusedError(400, "invalid-filter", what, details="; ".join(faults))


def page(
    connection: sqlalchemy.Connection, filters: Filters, builders: frozenset[str] | None
) -> tuple[list[Job], str | None]:
    """Return jobs, the newest first, and the cursor of the next page if there is one. Blocks.

    :param builders: only of these; ``None`` is no limit.
    """
    query = (
        select_jobs()
        .where(*_conditions(filters))
        .order_by(jobs_table.c.id.desc())
        .limit(filters.limit + 1)
    )
    if builders is not None:
        query = query.where(Model.builders.c.name.in_(builders))
    found = load(connection, query, with_logs=False)
    more = len(found) > filters.limit
    shown = found[: filters.limit]
    return shown, str(shown[-1].id) if more else None


def builder_names(connection: sqlalchemy.Connection) -> list[str]:
    """Return the names of all builders. Blocks."""
    return [name for (name,) in connection.execute(sqlalchemy.select(Model.builders.c.name))]


def _conditions(filters: Filters) -> Iterator[sqlalchemy.ColumnElement[bool]]:
    requests = Model.buildrequests
    if filters.builder is not None:
        yield Model.builders.c.name == filters.builder
    if filters.token is not None:
        yield jobs_table.c.token == filters.token
    if filters.result is not None:
        yield requests.c.complete == 1
        yield requests.c.results == RESULTS.index(filters.result)
    if filters.since is not None:
        yield jobs_table.c.accepted_at >= filters.since.timestamp()
    if filters.until is not None:
        yield jobs_table.c.accepted_at < filters.until.timestamp()
    if filters.cursor is not None:
        yield jobs_table.c.id < int(filters.cursor)
    if filters.with_property is not None:
        yield _has_property(*filters.with_property.partition("="))
    yield from _state_conditions(filters.state)


def _has_property(name: str, equals: str, text: str) -> sqlalchemy.ColumnElement[bool]:
    """Return whether a job was started with a property, and with one of the values of *text*."""
    table = Model.buildset_properties
    given = sqlalchemy.exists().where(
        table.c.buildsetid == jobs_table.c.buildsetid, table.c.property_name == name
    )
    if not equals:
        return given
    # Buildbot stores a value and its source as JSON.
    stored = [f"[{value}, " for value in _written(text)]
    begin = sqlalchemy.func.substr
    begins = (begin(table.c.property_value, 1, len(each)) == each for each in stored)
    return given.where(sqlalchemy.or_(*begins))


def _written(text: str) -> set[str]:
    """Return what JSON may have where a user writes *text*."""
    values = {strict_json.dumps(text)}
    with suppress(ValueError):
        value = strict_json.loads(text.encode())
        values.add(strict_json.dumps(value))
        if isinstance(value, int | float) and not isinstance(value, bool):
            values |= _numbers(value)
    return values


def _numbers(value: float) -> set[str]:
    """Return how else JSON may have a number: clients send 1E5 where others send 100000."""
    with suppress(OverflowError):
        values = {strict_json.dumps(float(value))}
        return values | ({strict_json.dumps(int(value))} if value == int(value) else set())
    return set()


def _state_conditions(state: str | None) -> Iterator[sqlalchemy.ColumnElement[bool]]:
    if state is not None:
        yield Model.buildrequests.c.complete == (1 if state == "finished" else 0)
    if state == "waiting":
        yield Model.buildrequest_claims.c.brid.is_(None)
    if state == "running":
        yield Model.buildrequest_claims.c.brid.is_not(None)
