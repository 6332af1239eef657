# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt thaw``: continues a VM that is frozen."""

from __future__ import annotations

from pathlib import Path

import click

from latent_libvirt.cli.master import duration_of_at_most, socket_option
from latent_libvirt.control.client import THAW_TIMEOUT, Client
from latent_libvirt.control.messages import LONGEST_HOLD, ThawRequest
from latent_libvirt.status import Thawed


@click.command(short_help="Continue a frozen VM.")
@click.argument("name")
@click.option(
    "--for",
    "seconds",
    type=duration_of_at_most(LONGEST_HOLD),
    metavar="DURATION",
    help="Time for which the VM is held then, like 30m or 2h. By default, its deadline stays.",
)
@socket_option
def thaw(name: str, where: Path, *, seconds: float | None) -> None:
    """Continue the frozen VM NAME, which is held then.

    NAME is the VM's DOMAIN@HOST, worker or id, as 'latent-libvirt status' shows them. The VM needs
    the slot that it had. If that is busy, the VM continues as soon as the slot is free.
    """
    with Client(where) as client:
        thawed = client.ask(ThawRequest(name, seconds), Thawed, timeout=THAW_TIMEOUT)
    if thawed.is_waiting:
        click.echo(f"{thawed.vm} will be thawed as soon as its slot is free.")
    else:
        click.echo(f"{thawed.vm} is held again.")
