# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt hold``: keeps the VM of a job, to look into it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from latent_libvirt.cli.holding.asker import asker
from latent_libvirt.cli.master import duration_of_at_most, socket_option
from latent_libvirt.config.units import parse_duration
from latent_libvirt.control.client import Client
from latent_libvirt.control.messages import LONGEST_HOLD, CancelHoldRequest, HoldRequest
from latent_libvirt.status.answers import WillBeHeld
from latent_libvirt.status.names import VmNames

DEFAULT: Final = "2h"
"""Time for which a VM is held."""


@click.command(short_help="Keep a VM after its job.")
@click.argument("name")
@click.option(
    "--for",
    "seconds",
    type=duration_of_at_most(LONGEST_HOLD),
    metavar="DURATION",
    help=f"Time from the end of the job, like 30m, 2h or 3d.  [default: {DEFAULT}]",
)
@click.option("--cancel", is_flag=True, help="Take the hold back, as long as the job runs.")
@socket_option
def hold(name: str, where: Path, *, seconds: float | None, cancel: bool) -> None:
    """Keep the VM NAME when its job has ended, whatever the result. Keep a held VM longer.

    NAME is the VM's worker, job (BUILDER/NUMBER) or DOMAIN@HOST, as 'latent-libvirt status' shows
    them, or its id, which 'latent-libvirt status --json' has. A held VM counts within all caps.
    Of a VM that is held already, --for counts from now, and it is only ever held longer.
    'latent-libvirt console NAME' opens its console, and 'latent-libvirt release NAME' deletes it.
    --cancel takes the hold back before the job has ended. Then the VM goes as it would have without
    it, and a label with 'hold_on_failure' still holds it if the job fails.
    """
    if not cancel:
        _hold(where, HoldRequest(name, seconds or parse_duration(DEFAULT), asker()))
        return
    if seconds is not None:
        raise click.UsageError("--for has no meaning with --cancel.")
    with Client(where) as client:
        vm = client.ask(CancelHoldRequest(name), VmNames)
    click.echo(f"{vm} will not be held when its job has ended.")


def _hold(where: Path, request: HoldRequest) -> None:
    with Client(where) as client:
        click.echo(client.ask(request, WillBeHeld))
