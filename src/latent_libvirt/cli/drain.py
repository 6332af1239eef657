# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt drain``: lets a host or a label run empty."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

import click

from latent_libvirt.cli.master import count, host_option, label_option, socket_option
from latent_libvirt.cli.views.status_view import duration
from latent_libvirt.control.client import Client
from latent_libvirt.control.messages import DrainRequest, StatusRequest
from latent_libvirt.status.names import Target
from latent_libvirt.status.pool import PoolStatus

REFRESH = 1.0
"""Seconds between two looks of ``--wait``."""


@click.command(short_help="Start no new VM on a host, or of a label.")
@click.argument("name")
@host_option
@label_option
@socket_option
@click.option(
    "--wait", is_flag=True, help="Wait until no VM is left there, and show those that are."
)
def drain(name: str, where: Path, *, kind: Literal["host", "label"] | None, wait: bool) -> None:
    """Start no new VM on the host, or of the label, NAME. Running builds finish.

    The drain ends with 'latent-libvirt undrain NAME' or a restart of the master. Changes of
    pool.yaml do not end it. To drain through a restart, write 'drain: true' in pool.yaml.
    """
    with Client(where) as client:
        target = client.ask(DrainRequest(name, kind), Target)
        click.echo(f"{target} is drained: no new VM starts.")
        if wait:
            _wait(client, target)


def _wait(client: Client, target: Target) -> None:
    shown = None
    while True:
        status = client.ask(StatusRequest(), PoolStatus)
        left = used(status, target)
        if left != shown:
            click.echo(_progress(status, target, left))
        if not left:
            return
        shown = left
        time.sleep(REFRESH)


def used(status: PoolStatus, target: Target) -> int:
    """Return how many places of *target* are taken; none if it is not configured any more."""
    there = {Target("host", host.name): host.used for host in status.hosts}
    there |= {Target("label", label.name): label.used for label in status.labels}
    leases = sum(_is_there(target, host=v.host, label=v.label) for v in status.leases)
    return max(there.get(target, 0), leases)


def _is_there(target: Target, *, host: str, label: str) -> bool:
    return target.name == (host if target.kind == "host" else label)


def _progress(status: PoolStatus, target: Target, left: int) -> str:
    if not left:
        return f"{target} is empty."
    lines = [f"{count(left, 'VM')} to go:"]
    lines += [
        f"  {lease.worker}: {lease.phase} for {duration(lease.seconds_in_phase)}"
        + (f", {lease.job.builder} #{lease.job.number}" if lease.job else "")
        for lease in status.leases
        if _is_there(target, host=lease.host, label=lease.label)
    ]
    lines += [
        f"  {vm.worker}: held for {duration(vm.seconds_left)} more, unless it is released"
        for vm in status.held
        if _is_there(target, host=vm.host, label=vm.label)
    ]
    return "\n".join(lines)
