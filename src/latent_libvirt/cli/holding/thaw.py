# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt thaw``: continues a VM that is frozen, or that was exported."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import click

from latent_libvirt.advice import command, listed, virsh
from latent_libvirt.cli.master import duration_of_at_most, socket_option
from latent_libvirt.control.client import MOVE_TIMEOUT, THAW_TIMEOUT, Client
from latent_libvirt.control.messages import LONGEST_HOLD, CancelThawRequest, ThawRequest
from latent_libvirt.plain_text import display_name
from latent_libvirt.status.answers import Thawed
from latent_libvirt.status.names import VmNames


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
@click.option("--cancel", is_flag=True, help="Let a VM that waits to be thawed stay frozen.")
@click.option("--uri", help="libvirt URI on this machine, if NAME is a file of an export.")
@click.option(
    "--base",
    "bases",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="IMAGE",
    help="Disk of the base image, if it is not in the export. Only with --uri.",
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
    cancel: bool,
) -> None:
    """Continue the frozen VM NAME, which is held then.

    NAME is the VM's worker, job (BUILDER/NUMBER), DOMAIN@HOST or id, as 'latent-libvirt status'
    shows them. The VM needs the slot that it had. As long as it cannot have the slot, it waits, and
    the command says for what. The VM continues as soon as it can. --cancel ends the wait.

    With --host, the VM is copied to another host of the pool, and continues in the slot of the same
    number there. Its own host may be drained, but has to be reachable.

    With --uri, NAME is a file that 'latent-libvirt export' has made, and no master is asked. Its
    disks are unpacked into the new directory NAME.d.
    """
    of_a_pool = {"--host": host is not None, "--for": seconds is not None, "--cancel": cancel}
    if uri is not None:
        _refuse(of_a_pool, "is for frozen VMs of a pool, and --uri for files.")
        _thaw_file(Path(name), uri, bases)
        return
    _refuse({"--base": bool(bases)}, "is for files of exports. Add --uri, or leave it out.")
    _refuse_file(Path(name))
    if cancel:
        del of_a_pool["--cancel"]
        _refuse(of_a_pool, "has no meaning with --cancel.")
        _cancel(where, name)
    else:
        _thaw(where, ThawRequest(name, seconds, host))


def _refuse(given: Mapping[str, bool], why: str) -> None:
    for option, is_given in given.items():
        if is_given:
            raise click.UsageError(f"{option} {why}")


def _refuse_file(file: Path) -> None:
    """Say how a file is continued that is named as if it was a VM."""
    with suppress(OSError):
        if not file.is_file():
            return
        if _begins_like_an_export(file):
            raise click.UsageError(
                f"{display_name(file)} is a file. This continues an export on this machine:"
                + listed(command("latent-libvirt", "thaw", str(file), "--uri", "qemu:///session"))
            )
        if file.suffix:  # else it may have a VM's name by chance
            raise click.UsageError(
                f"{display_name(file)} is a file, and none that 'latent-libvirt export' has written"
            )


def _begins_like_an_export(file: Path) -> bool:
    """Whether it is an archive with a first member; a disk of zeros is an archive without any."""
    try:
        with tarfile.open(file, "r:") as archive:
            return archive.next() is not None
    except tarfile.TarError:
        return False


def _cancel(where: Path, name: str) -> None:
    with Client(where) as client:
        click.echo(f"{client.ask(CancelThawRequest(name), VmNames)} stays frozen.")


def _thaw(where: Path, request: ThawRequest) -> None:
    timeout = THAW_TIMEOUT if request.host is None else MOVE_TIMEOUT
    with Client(where) as client:
        thawed = client.ask(request, Thawed, timeout=timeout)
    remedy = " 'latent-libvirt thaw NAME --cancel' ends the wait." if thawed.is_waiting else ""
    click.echo(f"{thawed}{remedy}")


def _thaw_file(file: Path, uri: str, bases: tuple[Path, ...]) -> None:
    from latent_libvirt.host.exporting import unpack  # noqa: PLC0415 (other uses need no libvirt)
    from latent_libvirt.host.libvirtd.errand import visiting  # noqa: PLC0415

    file = file.absolute()  # qemu-img would take the name before a colon for a protocol
    export, directory = unpack.Unpacked(file), file.with_name(f"{file.name}.d")
    is_restored = False

    def in_use() -> bool:
        """Look whether the VM runs although this was interrupted."""
        if not (is_restored and unpack.may_run(uri, export.domain, directory)):
            return False
        click.echo(
            f"{export.domain} runs, or may run, from {display_name(directory)}, which stays. "
            f"{virsh(uri, 'destroy', export.domain)} ends it. Delete the directory then.",
            err=True,
        )
        return True

    with unpack.new_directory(directory, in_use), visiting(uri) as connection:
        export.check(connection)
        xml = export.place(directory, {unpack.digest(base): base for base in bases})
        is_restored = True  # from now on, libvirt may have begun
        unpack.restore(connection, directory, xml)
    click.echo(f"{export.domain} runs. Its console: {virsh(uri, 'console', export.domain)}")
    click.echo(f"When it has ended, delete {directory}.")
