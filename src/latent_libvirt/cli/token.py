# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt token``: make, list and revoke the tokens of the job API.

What a token is, and where it is kept, is the business of ``latent_libvirt.jobs.tokens``.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from latent_libvirt.jobs import tokens

_DAY = 24 * 3600
_WIDTH = 160

_file = click.option(
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    default="tokens.json",
    show_default=True,
    help="The token file of the master: what its JobApi(tokens=...) names.",
)


@click.group
def token() -> None:
    """Make and revoke the tokens with which jobs are started."""


@token.command
@click.argument("name")
@_file
@click.option(
    "--builder",
    "builders",
    multiple=True,
    required=True,
    metavar="PATTERN",
    help="What it is for: builders whose names match, like 'check-*'; '*' is all. May be repeated.",
)
@click.option(
    "--days",
    type=click.IntRange(1),
    help="How long it is good for; for ever, if not given.",
)
def create(name: str, file: Path, builders: tuple[str, ...], days: int | None) -> None:
    """Make a token called NAME, and print it: this once, it is kept nowhere.

    A running master knows it at once.
    """
    now = time.time()
    expires = None if days is None else now + days * _DAY
    secret = tokens.create(file, name=name, builders=list(builders), now=now, expires=expires)
    click.echo(secret)


@token.command(name="list")
@_file
def list_(file: Path) -> None:
    """List the tokens: their names, what they are for, and until when."""
    table = Table("name", "builders", "created", "expires", box=None)
    now = time.time()
    for each in tokens.read(file):
        expires = "never" if each.expires is None else _date(each.expires)
        if each.has_expired(now):
            expires += " (expired)"
        table.add_row(each.name, " ".join(each.builders), _date(each.created), expires)
    console = Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=_WIDTH)
    console.print(table if table.row_count else "There are none.")


@token.command
@click.argument("name")
@_file
def revoke(name: str, file: Path) -> None:
    """Revoke the token called NAME: a running master refuses it from now on."""
    tokens.revoke(file, name)
    click.echo(f"the token {name} is revoked.")


def _date(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
