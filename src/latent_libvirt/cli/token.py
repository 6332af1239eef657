# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt token``: make, list and revoke the tokens of the job API.

What a token is, and where it is kept, is in ``latent_libvirt.jobs.tokens``.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.table import Table

from latent_libvirt.cli.numbers import WholeNumber
from latent_libvirt.cli.views.output import output_console
from latent_libvirt.jobs import tokens
from latent_libvirt.plain_text import as_text

_DAY = 24 * 3600
_MOST_DAYS = 36_525
"""A hundred years. A token that is to last longer has no day at all."""

_file = click.option(
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    default="tokens.json",
    show_default=True,
    help="The token file of the master, as in its JobApi(tokens=...).",
)


@click.group
def token() -> None:
    """Make, list and revoke tokens of the job API."""


@token.command
@click.argument("name")
@_file
@click.option(
    "--builder",
    "builders",
    multiple=True,
    required=True,
    metavar="PATTERN",
    help="Builders that it may use, like 'check-*'. '*' is all. May be repeated.",
)
@click.option(
    "--property",
    "properties",
    multiple=True,
    metavar="PATTERN",
    help="Properties that it may set. By default, all that nobody interprets. May be repeated.",
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="PATTERN",
    help="Labels that it may ask for. By default, all. May be repeated.",
)
@click.option(
    "--max-priority",
    type=WholeNumber(-(2**31) + 1, 2**31 - 1),
    help=f"The highest priority of its jobs.  [default: {tokens.DEFAULT_MAX_PRIORITY}]",
)
@click.option(
    "--max-unfinished",
    type=WholeNumber(0),
    help=f"Cap on its unfinished jobs at one time.  [default: {tokens.DEFAULT_MAX_UNFINISHED}]",
)
@click.option(
    "--days",
    type=WholeNumber(1, _MOST_DAYS),
    help="Days until it expires. By default, it does not expire.",
)
def create(  # noqa: PLR0913 - what a token has
    *,
    name: str,
    file: Path,
    builders: tuple[str, ...],
    properties: tuple[str, ...],
    labels: tuple[str, ...],
    max_priority: int | None,
    max_unfinished: int | None,
    days: int | None,
) -> None:
    """Make a token called NAME, and print it. It is printed only now.

    A running master accepts it at once.
    """
    now = time.time()
    expires = None if days is None else now + days * _DAY
    scope = tokens.Scope(
        list(properties) or None, list(labels) or None, max_priority, max_unfinished
    )
    secret = tokens.create(
        file, name=name, builders=list(builders), now=now, expires=expires, scope=scope
    )
    click.echo(secret)


@token.command(name="list")
@_file
def list_(file: Path) -> None:
    """List the tokens, with what each may do and when it expires."""
    columns = ("name", "builders", "labels", "properties", "priority", "unfinished")
    table = Table(*columns, "created", "expires", box=None)
    now = time.time()
    for each in tokens.read(file):
        expires = "never" if each.expires is None else _date(each.expires)
        if each.has_expired(now):
            expires += " (expired)"
        table.add_row(*_scope(each), _date(each.created), expires)
    console = output_console(markup=False)
    console.print(table if table.row_count else "There are none.")


@token.command
@click.argument("name")
@_file
def revoke(name: str, file: Path) -> None:
    """Revoke the token NAME. A running master refuses it at once."""
    tokens.revoke(file, name)
    click.echo(f"the token {name} is revoked.")


def _scope(token: tokens.Token) -> tuple[str, ...]:
    """Return what a token is and what it may do, as cells of a table."""
    lists = (token.builders, token.labels, token.properties)
    shown = (" ".join(each) if each is not None else "any" for each in lists)
    cells = (token.name, *shown, f"<= {token.priority}", f"<= {token.quota}")
    return tuple(map(as_text, cells))


def _date(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
