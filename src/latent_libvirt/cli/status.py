# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt status``: what a running master's pool does at this moment."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live

from latent_libvirt.cli.master import socket_option
from latent_libvirt.cli.overview import overview
from latent_libvirt.control.client import Client
from latent_libvirt.control.messages import StatusRequest
from latent_libvirt.control.status import PoolStatus

REFRESH = 1.0
"""Seconds between two looks of ``--watch``."""

WIDTH = 160
"""Columns of what is written to a file or a pipe."""


@click.command(short_help="Show what runs, and where.")
@socket_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.option("--watch", is_flag=True, help="Show it live, until Ctrl-C; as JSON: a line each.")
def status(where: Path, *, as_json: bool, watch: bool) -> None:
    """Show the hosts, labels and VMs of a running master's pool.

    VMS counts the VMs, and the room that is kept for VMs about to start. STATE says why nothing
    starts, where nothing does.
    """
    with Client(where) as client:
        if watch:
            with contextlib.suppress(KeyboardInterrupt):
                _watch(client, as_json=as_json)
        else:
            _print(_ask(client), as_json=as_json)


def _watch(client: Client, *, as_json: bool) -> None:
    if as_json:
        while True:
            click.echo(json.dumps(asdict(_ask(client))))
            time.sleep(REFRESH)
    with Live(overview(_ask(client)), console=_console(), auto_refresh=False) as live:
        while True:
            time.sleep(REFRESH)
            live.update(overview(_ask(client)), refresh=True)


def _ask(client: Client) -> PoolStatus:
    return client.ask(StatusRequest(), PoolStatus)


def _print(status: PoolStatus, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(asdict(status), indent=2))
    else:
        _console().print(overview(status))


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH)
