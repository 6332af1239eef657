# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt usage``: what builds have used, from a running master's database."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import click
from rich import box
from rich.table import Table
from rich.text import Text

from latent_libvirt.cli.master import clock_time, moment, socket_option
from latent_libvirt.cli.views.output import output_console
from latent_libvirt.cli.views.status_view import duration
from latent_libvirt.config.units import GIB, MIB
from latent_libvirt.control.client import USAGE_TIMEOUT, Client
from latent_libvirt.control.messages import NEWEST, UsageRequest
from latent_libvirt.plain_text import all_shown
from latent_libvirt.status.usage import UsageReport, UsageSum


def _moment(text: str) -> datetime:
    """Return the moment that an option names, if a build may have begun then."""
    found = moment(text)
    if not 0 <= found.timestamp() <= NEWEST:
        raise click.BadParameter(f"{text!r} is no time of a build.")
    return found


@click.command(short_help="Show what builds have used.")
@click.option(
    "--by",
    type=click.Choice(["builder", "label", "host"]),
    default="builder",
    show_default=True,
    help="What the builds of a row have in common.",
)
@click.option(
    "--since",
    type=_moment,
    default="30d",
    show_default=True,
    metavar="WHEN",
    help="Begin of the first builds: a date like 2026-11-01, a time like 2026-11-01T08:30, both by "
    "this machine's clock, or a duration before now like 30d or 12h.",
)
@click.option("--until", type=_moment, metavar="WHEN", help="Only builds that began before.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="Form of the output.",
)
@socket_option
def usage(
    where: Path,
    by: Literal["builder", "label", "host"],
    form: str,
    *,
    since: datetime,
    until: datetime | None,
) -> None:
    """Show the processor time, memory and bytes that builds have used.

    CPU is the processor time that the VMs used. VCPUS and MEMORY are what they were given, times
    the time for which they had it. PEAK is the most memory that the QEMU process of a VM had in
    use. The guest's memory is in it, and QEMU's, so it can be more than the VM was given. After
    the table, labels are named that are three times too large.
    """
    if since > (now := datetime.now(UTC)):
        raise click.UsageError(
            f"no build has begun yet after --since, {clock_time(since)}: "
            f"it is {clock_time(now)} now."
        )
    if until is not None and until <= since:
        raise click.UsageError(
            f"no build began after --since, {clock_time(since)}, and before --until, "
            f"{clock_time(until)}. A duration counts back from now."
        )
    with Client(where) as client:
        ended = None if until is None else until.timestamp()
        request = UsageRequest(since.timestamp(), ended, by)
        report = client.ask(request, UsageReport, timeout=USAGE_TIMEOUT)
    if form == "json":
        click.echo(json.dumps(asdict(report), indent=2))
    elif form == "csv":
        _write_csv(report, by)
    else:
        _print(all_shown(report), by)


def _write_csv(report: UsageReport, by: str) -> None:
    names = [field.name for field in fields(UsageSum)]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([by, *names[1:]])
    writer.writerows([getattr(each, name) for name in names] for each in report.sums)


def _print(report: UsageReport, by: str) -> None:
    console = output_console(markup=False)
    if not report.sums:
        console.print("No build since then has a record of what it used.")
        return
    console.print(_table(report, by))
    for advice in report.advice:
        console.print(Text(f"! {advice}", "yellow"))


def _table(report: UsageReport, by: str) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, show_edge=False, header_style="bold")
    table.add_column(by.upper(), overflow="fold")
    columns = ("BUILDS", "TIME", "CPU", "VCPUS", "MEMORY", "PEAK")
    for column in (*columns, "READ", "WRITTEN", "RECEIVED", "SENT"):
        table.add_column(column, justify="right", overflow="fold")
    for each in report.sums:
        table.add_row(
            Text(each.name),
            str(each.builds),
            duration(each.seconds),
            duration(each.cpu_seconds),
            duration(each.vcpu_seconds),
            f"{_size(each.memory_seconds / 3600)} h",
            _size(each.peak_memory),
            *map(_size, (each.read, each.written, each.received, each.sent)),
        )
    return table


def _size(count: float) -> str:
    """Return bytes in the largest unit of which there is one, with three digits or more."""
    unit, name = next((each for each in _UNITS if count >= each[0]), (MIB, "MiB"))
    value = count / unit
    return f"{value:.0f} {name}" if value >= 100 else f"{value:.3g} {name}"  # noqa: PLR2004


_UNITS: Final = ((1024 * GIB, "TiB"), (GIB, "GiB"))
