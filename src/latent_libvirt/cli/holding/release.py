# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt release``: ends a VM that is held or frozen."""

from __future__ import annotations

from pathlib import Path

import click

from latent_libvirt.cli.master import socket_option
from latent_libvirt.control.client import Client
from latent_libvirt.control.messages import ReleaseRequest
from latent_libvirt.status.names import VmNames


@click.command(short_help="Delete a held or frozen VM.")
@click.argument("name")
@socket_option
def release(name: str, where: Path) -> None:
    """Delete the VM NAME, which is held or frozen."""
    with Client(where) as client:
        vm = client.ask(ReleaseRequest(name), VmNames)
    click.echo(f"{vm} is gone.")
