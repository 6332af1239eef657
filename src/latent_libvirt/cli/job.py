# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt job``: start jobs, watch them, cancel them.

How the server is asked is in ``latent_libvirt.jobs.client``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from latent_libvirt.cli import SHOW_TRACEBACK
from latent_libvirt.cli.master import moment
from latent_libvirt.cli.numbers import WholeNumber
from latent_libvirt.cli.views.output import output_console
from latent_libvirt.jobs import access, strict_json
from latent_libvirt.jobs.access import TOKEN_VARIABLE
from latent_libvirt.jobs.client import Client, JobError
from latent_libvirt.plain_text import as_text

if TYPE_CHECKING:
    from latent_libvirt.jobs.client import Document

REFRESH = 1.0
"""Seconds between two looks at a job."""

STATUSES = {"success": 0, "warnings": 0, "skipped": 0, "failure": 3, "exception": 4, "cancelled": 5}
"""The exit status of each result; 1 and 2 are errors and wrong usage, as of every command."""

URL_VARIABLE = "LATENT_LIBVIRT_JOBS_URL"
FILE_VARIABLE = "LATENT_LIBVIRT_TOKEN_FILE"

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def _server(command: Decorated) -> Decorated:
    """Add the options that say whom to ask, and with which token; binds ``url``, ``token_file``."""
    url = click.option(
        "--url",
        envvar=URL_VARIABLE,
        required=True,
        show_envvar=True,
        help="URL of /jobs, like https://ci.example.org/jobs.",
    )
    file = click.option(
        "--token-file",
        type=click.Path(dir_okay=False, path_type=Path),
        envvar=FILE_VARIABLE,
        show_envvar=True,
        help=f"File with the token, which only its owner may read. By default: {TOKEN_VARIABLE}.",
    )
    return url(file(command))


_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


class _Jobs(click.Group):
    """The verbs; what no job API answers is reported as that, wherever it is noticed."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a verb."""
        try:
            return super().invoke(ctx)
        except (LookupError, TypeError, AttributeError) as error:
            if os.environ.get(SHOW_TRACEBACK):
                raise
            raise JobError(
                "what answers is no job API of this version",
                details=f"Its document lacks something, or has another type: {error!r:.200}.",
                resolution="Check the URL. The master and this command have to be of one version.",
            ) from error


@click.group(
    cls=_Jobs,
    epilog="Exit status of watch and submit: 0 success, warnings or skipped; 3 failure; "
    "4 exception; 5 cancelled; 1 if something is wrong, 2 for wrong usage.",
)
def job() -> None:
    """Start, watch, list and cancel jobs."""


@job.command
@_server
@click.option("--builder", help="The builder that is to run it.")
@click.option("--label", help="The kind of VM. Without --builder, it chooses the builder, too.")
@click.option(
    "--property",
    "properties",
    multiple=True,
    metavar="NAME=VALUE",
    help="A property of the build, as text. May be repeated.",
)
@click.option(
    "--json-property",
    "json_properties",
    multiple=True,
    metavar="NAME=JSON",
    help="A property of the build, as JSON. May be repeated.",
)
@click.option("--repository", default="", help="Repository of the sources.")
@click.option("--branch", help="Branch of the sources.")
@click.option("--revision", help="Revision of the sources.")
@click.option("--project", default="", help="Project of the sources.")
@click.option(
    "--priority",
    type=WholeNumber(-(2**31) + 1, 2**31 - 1),
    default=0,
    help="The higher, the sooner.",
)
@click.option("--reason", help="For people.")
@click.option("--uuid", help="The job's name. A repeated submit with it starts nothing twice.")
@click.option("--callback-url", help="URL that gets the result by POST.")
@click.option("--wait/--no-wait", default=True, help="Wait for the result.  [default: wait]")
@_as_json
def submit(url: str, token_file: Path | None, *, wait: bool, as_json: bool, **wanted: Any) -> None:
    """Start a job, print its URL, and wait for its result. Ctrl-C ends only the wait."""
    client = _client(url, token_file)
    started = client.submit(_request(**wanted))
    if not as_json:
        click.echo(as_text(started["url"]))
    if wait:
        _watch(client, started, as_json=as_json)
    elif as_json:
        _print_json(started)


@job.command
@click.argument("uuid")
@_server
@_as_json
def status(uuid: str, url: str, token_file: Path | None, *, as_json: bool) -> None:
    """Show the state of the job UUID."""
    found = _client(url, token_file).job(uuid)
    if as_json:
        _print_json(found)
    else:
        output_console(markup=False).print(_overview(found))


@job.command
@click.argument("uuid")
@_server
@_as_json
def watch(uuid: str, url: str, token_file: Path | None, *, as_json: bool) -> None:
    """Wait for the result of the job UUID. The exit status shows it."""
    client = _client(url, token_file)
    _watch(client, client.job(uuid), as_json=as_json)


@job.command
@click.argument("uuid")
@_server
def cancel(uuid: str, url: str, token_file: Path | None) -> None:
    """Cancel the job UUID."""
    found = _client(url, token_file).cancel(uuid)
    if found["result"] is None:
        click.echo(as_text(f"job {uuid} is being cancelled."))
    else:
        click.echo(as_text(f"job {uuid} has ended: {found['result']}."))


@job.command(name="list")
@_server
@click.option("--builder", help="Of this builder.")
@click.option("--token", help="Started with the token of this name.")
@click.option(
    "--state",
    type=click.Choice(["unfinished", "waiting", "running", "finished"]),
    help="In this state. waiting includes accepted, and running includes starting.",
)
@click.option("--result", help="Finished with this result.")
@click.option(
    "--since",
    type=moment,
    metavar="WHEN",
    help="Accepted at this time or later: a date like 2026-11-01, a time like 2026-11-01T08:30, "
    "both by this machine's clock, or a duration before now like 30d or 12h.",
)
@click.option("--until", type=moment, metavar="WHEN", help="Accepted before this time.")
@click.option("--limit", type=WholeNumber(1), default=50, show_default=True)
@_as_json
def list_(url: str, token_file: Path | None, *, limit: int, as_json: bool, **filters: Any) -> None:
    """List jobs, the newest first."""
    given = {name: _text(value) for name, value in filters.items() if value is not None}
    found = list(_client(url, token_file).jobs(limit, given))
    if as_json:
        _print_json(found)
    else:
        output_console(markup=False).print(_table(found) if found else "There are none.")


def _text(value: str | datetime) -> str:
    """Return what a filter is in a request: a time is that of UTC."""
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return value


# Whom to ask.


def _client(url: str, token_file: Path | None) -> Client:
    if fault := access.fault_of(url):
        raise click.BadParameter(fault, param_hint="--url")
    return Client(
        url, access.token(token_file), report=lambda why: click.echo(as_text(why), err=True)
    )


# What to ask.


def _request(
    properties: tuple[str, ...],
    json_properties: tuple[str, ...],
    **given: Any,
) -> dict[str, Any]:
    """Return the body of the POST that the options ask for."""
    stamp = {name: given.pop(name) for name in ("repository", "branch", "revision", "project")}
    request = {name: value for name, value in given.items() if value is not None}
    texts = dict(_pair(text) for text in properties)
    values = {name: _json(name, text) for name, text in map(_pair, json_properties)}
    return request | {"properties": texts | values, "sourcestamps": [stamp]}


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE")
    return name, value


def _json(name: str, text: str) -> Any:
    try:
        return strict_json.loads(text.encode(errors="surrogateescape"))
    except ValueError as error:
        raise click.BadParameter(f"the value of {name} is no good JSON: {error}") from None


# What to show.


def _watch(client: Client, found: Document, *, as_json: bool) -> None:
    """Show a job until it has ended, and end with the status of its result."""
    shown = found if found["result"] is not None else _follow(client, found, quiet=as_json)
    if as_json:
        _print_json(shown)
    else:
        output_console(markup=False).print(_overview(shown))
    sys.exit(STATUSES[shown["result"]])


def _follow(client: Client, found: Document, *, quiet: bool) -> Document:
    console = Console(stderr=True, highlight=False)
    if console.is_terminal and not quiet:
        spinner = Spinner("dots", Text(_line(found)))
        with Live(spinner, console=console, transient=True, refresh_per_second=8):
            return _until_finished(client, found, lambda job: spinner.update(text=Text(_line(job))))
    last: list[str] = []

    def say(job: Document) -> None:
        if not quiet and last[-1:] != [job["state"]]:
            last.append(job["state"])
            click.echo(_line(job), err=True)

    return _until_finished(client, found, say)


def _until_finished(client: Client, job: Document, show: Callable[[Document], None]) -> Document:
    show(job)
    while job["result"] is None:
        time.sleep(REFRESH)
        job = client.job(job["uuid"])
        show(job)
    return job


def _line(job: Document) -> str:
    attempt = f", attempt {job['tries']}" if job["tries"] > 1 else ""
    where = f" on {job['master']}" if job["master"] else ""
    return as_text(f"{job['builder']}: {job['state']}{where}{attempt} ({job['text']})")


def _overview(job: Document) -> Table:
    table = Table.grid(padding=(0, 2))
    rows = {"job": job["url"], "state": job["state"], "result": job["result"], "text": job["text"]}
    for name in ("builder", "reason", "accepted_at", "started_at", "finished_at"):
        rows[name.removesuffix("_at")] = job[name]
    for name, value in rows.items():
        if value is not None:
            table.add_row(name, as_text(value))
    for attempt in job["attempts"]:
        table.add_row(f"attempt {attempt['number']}", _of_attempt(attempt))
    return table


def _of_attempt(attempt: Document) -> str:
    vm = f", VM {attempt['vm']} on {attempt['host']}" if attempt["vm"] else ""
    seconds = ", ".join(f"{phase} {n} s" for phase, n in attempt["seconds"].items())
    outcome = attempt["result"] or attempt["state"]
    return as_text(f"{outcome}: {attempt['worker']} of {attempt['master']}{vm}; {seconds}")


def _table(jobs: list[Document]) -> Table:
    table = Table("job", "builder", "state", "accepted", "master", "reason", box=None)
    for each in jobs:
        state = each["result"] or each["state"]
        accepted, master = each["accepted_at"], each["master"] or ""
        cells = (each["uuid"], each["builder"], state, accepted, master, each["reason"])
        table.add_row(*map(as_text, cells))
    return table


def _print_json(document: Any) -> None:
    click.echo(json.dumps(document, indent=1))
