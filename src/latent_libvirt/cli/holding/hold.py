# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt hold``: keeps the VM of a job, to look into it."""

from __future__ import annotations

from pathlib import Path

import click

from latent_libvirt.cli.master import duration_of_at_most, socket_option
from latent_libvirt.control.client import Client
from latent_libvirt.control.messages import LONGEST_HOLD, HoldRequest
from latent_libvirt.status import VmNames


@click.command(short_help="Keep a VM after its job.")
@click.argument("name")
@click.option(
    "--for",
    "seconds",
    type=duration_of_at_most(LONGEST_HOLD),
    default="2h",
    show_default=True,
    metavar="DURATION",
    help="Time from the end of the job, like 90s, 30m or 2h.",
)
@socket_option
def hold(name: str, where: Path, *, seconds: float) -> None:
    """Keep the VM NAME when its job has ended, whatever the result.

    NAME is the VM's worker, job (BUILDER/NUMBER) or DOMAIN@HOST, as 'latent-libvirt status' shows
    them, or its id, which 'latent-libvirt status --json' has. A held VM counts within all caps.
    'latent-libvirt console NAME' opens its console, and 'latent-libvirt release NAME' deletes it.
    """
    with Client(where) as client:
        vm = client.ask(HoldRequest(name, seconds), VmNames)
    click.echo(f"{vm} will be held when its job has ended.")
