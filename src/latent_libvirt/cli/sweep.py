# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt sweep``: frees what was left on the hosts, now."""

from __future__ import annotations

from pathlib import Path

import click

from latent_libvirt.cli.master import socket_option
from latent_libvirt.control.client import SWEEP_TIMEOUT, Client
from latent_libvirt.control.messages import HostSweep, SweepRequest


@click.command(short_help="Free what was left on the hosts.")
@click.option("--dry-run", is_flag=True, help="Free nothing; say what would be freed.")
@socket_option
def sweep(where: Path, *, dry_run: bool) -> None:
    """Let a running master compare each host with what it knows, and free what belongs to nobody.

    It does so by itself every minute. Only domains and overlays of this master's pool, of no VM
    that lives, are ever freed. The exit status is 1 if a host could not be swept.
    """
    with Client(where) as client:
        request = SweepRequest(dry_run=dry_run)
        swept = client.ask(request, tuple[HostSweep, ...], timeout=SWEEP_TIMEOUT)
    for host in swept:
        click.echo(_in_words(host, verb="would free" if dry_run else "freed"))
    if any(host.trouble for host in swept):
        raise SystemExit(1)


def _in_words(host: HostSweep, *, verb: str) -> str:
    if host.trouble:
        return f"host {host.host}: could not be swept: {host.trouble}"
    things = [f"host {host.host}: {verb} {thing}" for thing in host.leftovers]
    return "\n".join(things) or f"host {host.host}: nothing is left over"
