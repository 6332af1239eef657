# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt status``: what a running master's pool does at this moment."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Group
from rich.live import Live
from rich.text import Text

from latent_libvirt.cli.master import socket_option
from latent_libvirt.cli.views.output import output_console
from latent_libvirt.cli.views.status_view import overview
from latent_libvirt.control.client import Client
from latent_libvirt.control.messages import ControlError, StatusRequest
from latent_libvirt.status.pool import PoolStatus

REFRESH = 1.0
"""Seconds between two looks of ``--watch``."""


@click.command(short_help="Show hosts, labels, VMs and waiting requests.")
@socket_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.option(
    "--watch", is_flag=True, help="Show it live, until Ctrl-C. With --json, a line each second."
)
def status(where: Path, *, as_json: bool, watch: bool) -> None:
    """Show the hosts, labels and VMs of a running master's pool.

    VMS counts VMs, and the room reserved for VMs about to start. STATE has the reason if nothing
    starts.
    """
    with Client(where) as client:
        first = _ask(client)
    if not watch:
        _print(first, as_json=as_json)
        return
    with contextlib.suppress(KeyboardInterrupt):
        _watch(first, _looks(where), as_json=as_json)


def _watch(first: PoolStatus, looks: Iterator[PoolStatus | ControlError], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(asdict(first)))
        for look in looks:
            shown = {"error": str(look)} if isinstance(look, ControlError) else asdict(look)
            click.echo(json.dumps(shown))
        return
    last = first
    with Live(overview(first), console=output_console(markup=False), auto_refresh=False) as live:
        for look in looks:
            if isinstance(look, ControlError):
                live.update(Group(Text(f"! {look.brief}", "red"), overview(last)), refresh=True)
            else:
                last = look
                live.update(overview(look), refresh=True)


def _looks(where: Path) -> Iterator[PoolStatus | ControlError]:
    """Look again and again, also at the master that comes after this one."""
    while True:
        try:
            with Client(where) as client:
                while True:
                    time.sleep(REFRESH)
                    yield _ask(client)
        except ControlError as error:
            yield error
        time.sleep(REFRESH)


def _ask(client: Client) -> PoolStatus:
    return client.ask(StatusRequest(), PoolStatus)


def _print(status: PoolStatus, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(asdict(status), indent=2))
    else:
        output_console(markup=False).print(overview(status))
