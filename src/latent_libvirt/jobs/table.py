# SPDX-License-Identifier: GPL-2.0-only
"""The table that gives each job its UUID, in Buildbot's own database.

Buildbot has ``buildsets.external_idstring`` for that, but it is not unique, not indexed, and copied
to what somebody rebuilds.
"""

from __future__ import annotations

import sqlalchemy
from buildbot.db.model import Model
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

_MOST_APART = 60
"""Seconds by which the clocks of masters may differ."""

metadata = sqlalchemy.MetaData()

jobs = sqlalchemy.Table(
    "latent_libvirt_jobs",
    metadata,
    # In the order in which jobs were accepted, for pages of a list.
    sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True),
    sqlalchemy.Column("uuid", sqlalchemy.String(36), nullable=False, unique=True),
    sqlalchemy.Column(
        "buildsetid",
        sqlalchemy.Integer,
        sqlalchemy.ForeignKey(Model.buildsets.c.id, ondelete="CASCADE"),
        nullable=False,
        unique=True,
    ),
    # Of the request, to distinguish a repetition from another job under the same UUID.
    sqlalchemy.Column("digest", sqlalchemy.String(64), nullable=False),
    # Name of the token that started it.
    sqlalchemy.Column("token", sqlalchemy.String(100), nullable=False),
    # All times are seconds since the epoch, like Buildbot's own.
    sqlalchemy.Column("accepted_at", sqlalchemy.Integer, nullable=False, index=True),
    sqlalchemy.Column("cancelled_at", sqlalchemy.Integer),
    sqlalchemy.Column("cancelled_by", sqlalchemy.String(100)),
    # From when on it is announced to masters again; NULL if there is nothing to be done any more.
    sqlalchemy.Column("cancel_due", sqlalchemy.Integer, index=True),
    sqlalchemy.Column("callback_url", sqlalchemy.Text),
    # When it is to be tried next; NULL if there is nothing to be done any more.
    sqlalchemy.Column("callback_due", sqlalchemy.Integer, index=True),
    sqlalchemy.Column("callback_tries", sqlalchemy.Integer, nullable=False, default=0),
    sqlalchemy.Column("callback_done_at", sqlalchemy.Integer),
    sqlalchemy.Column("callback_error", sqlalchemy.Text),
)


quotas = sqlalchemy.Table(
    "latent_libvirt_quotas",
    metadata,
    # A row of each token that has asked for a job: who adds one locks it.
    sqlalchemy.Column("token", sqlalchemy.String(100), primary_key=True),
    sqlalchemy.Column("asked_at", sqlalchemy.Integer, nullable=False),
)


def create(engine: sqlalchemy.Engine) -> None:
    """Make the table, unless it is there, or another master makes it at the same moment. Blocks."""
    try:
        metadata.create_all(engine)
    except (IntegrityError, OperationalError, ProgrammingError):
        metadata.create_all(engine)


def is_due(
    when: sqlalchemy.Column[int], now: int, longest: int | sqlalchemy.ColumnElement[int]
) -> sqlalchemy.ColumnElement[bool]:
    """Return the condition that a moment in the table has come.

    One that is further away than anybody would have noted it was noted before the clock was set
    back, and has come, too.

    :param longest: seconds that such a moment is away, at most, when it is noted.
    """
    is_too_far = when > now + longest + _MOST_APART
    # The first part is for the index: most rows have no such moment.
    return sqlalchemy.and_(when >= 0, sqlalchemy.or_(when <= now, is_too_far))
