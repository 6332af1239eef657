# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt end``: ends a VM, whatever it does."""

from __future__ import annotations

from pathlib import Path

import click

from latent_libvirt.cli.master import socket_option
from latent_libvirt.control.client import Client
from latent_libvirt.control.messages import EndRequest
from latent_libvirt.status.names import VmNames


@click.command(short_help="Delete a VM at once.")
@click.argument("name")
@socket_option
def end(name: str, where: Path) -> None:
    """Delete the VM NAME at once, whatever it does.

    A build in it has lost its VM, and starts again in another one. That does not count as
    one of the label's launch_attempts. Cancel the build if it is not to run again.

    NAME is the VM's worker, job (BUILDER/NUMBER) or DOMAIN@HOST, as 'latent-libvirt status' shows
    them, or its id, which 'latent-libvirt status --json' has.
    """
    with Client(where) as client:
        vm = client.ask(EndRequest(name), VmNames)
    click.echo(f"{vm} is gone.")
