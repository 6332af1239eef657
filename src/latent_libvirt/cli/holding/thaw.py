# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt thaw``: continues a VM that is frozen, or that was exported."""

from __future__ import annotations

from pathlib import Path

import click

from latent_libvirt.advice import virsh
from latent_libvirt.cli.master import duration_of_at_most, socket_option
from latent_libvirt.control.client import MOVE_TIMEOUT, THAW_TIMEOUT, Client
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
@click.option(
    "--host", help="Host of the pool on which the VM continues. By default, that which froze it."
)
@click.option("--uri", help="libvirt URI on this machine, if NAME is a file of an export.")
@click.option(
    "--base",
    "bases",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="IMAGE",
    help="Disk of the base image, if it is not in the export.",
)
@socket_option
def thaw(  # noqa: PLR0913 - each is an option
    name: str,
    where: Path,
    host: str | None,
    uri: str | None,
    bases: tuple[Path, ...],
    *,
    seconds: float | None,
) -> None:
    """Continue the frozen VM NAME, which is held then.

    NAME is the VM's DOMAIN@HOST, worker or id, as 'latent-libvirt status' shows them. The VM needs
    the slot that it had. If that is busy, the VM continues as soon as the slot is free.

    With --host, the VM is copied to another host of the pool, and continues in the slot of the same
    number there. Its own host may be drained, but has to be reachable.

    With --uri, NAME is a file that 'latent-libvirt export' has made, and no master is asked. Its
    disks are unpacked into the new directory NAME.d.
    """
    if uri is not None and host is not None:
        raise click.UsageError("--host is for frozen VMs of a pool, and --uri for files.")
    if uri is not None:
        _thaw_file(Path(name), uri, bases)
        return
    timeout = THAW_TIMEOUT if host is None else MOVE_TIMEOUT
    with Client(where) as client:
        thawed = client.ask(ThawRequest(name, seconds, host), Thawed, timeout=timeout)
    there = f" on host {thawed.host}" if thawed.host else ""
    if thawed.is_waiting:
        click.echo(f"{thawed.vm} will be thawed{there} as soon as its slot is free.")
    else:
        click.echo(f"{thawed.vm} is held again{there}.")


def _thaw_file(file: Path, uri: str, bases: tuple[Path, ...]) -> None:
    from latent_libvirt.host.exporting import unpack  # noqa: PLC0415 (other uses need no libvirt)
    from latent_libvirt.host.libvirtd.errand import visiting  # noqa: PLC0415

    file = file.absolute()  # qemu-img would take the name before a colon for a protocol
    export, directory = unpack.Unpacked(file), file.with_name(f"{file.name}.d")
    with unpack.new_directory(directory), visiting(uri) as connection:
        export.check(connection)
        xml = export.place(directory, {unpack.digest(base): base for base in bases})
        unpack.restore(connection, directory, xml)
    click.echo(f"{export.domain} runs. Its console: {virsh(uri, 'console', export.domain)}")
    click.echo(f"When it has ended, delete {directory}.")
