# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt undrain``: ends what ``drain`` began."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from latent_libvirt.cli.master import host_option, label_option, socket_option
from latent_libvirt.control.client import Client
from latent_libvirt.control.messages import UndrainRequest
from latent_libvirt.status.names import Target


@click.command(short_help="End a drain or a back-off.")
@click.argument("name")
@host_option
@label_option
@socket_option
def undrain(name: str, where: Path, *, kind: Literal["host", "label"] | None) -> None:
    """Start VMs again on the host, or of the label, NAME.

    Also ends the back-off of the host, or of the label's workers. A 'drain: true' in pool.yaml
    can only be removed there.
    """
    with Client(where) as client:
        target = client.ask(UndrainRequest(name, kind), Target)
    click.echo(f"{target} is not drained: VMs may start.")
