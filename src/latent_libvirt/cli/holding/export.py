# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt export``: packs a frozen VM into a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click

from latent_libvirt.cli.holding.asker import asker
from latent_libvirt.cli.master import socket_option
from latent_libvirt.control.client import Client
from latent_libvirt.control.messages import ControlError, ExportedRequest, ExportRequest
from latent_libvirt.plain_text import display_name
from latent_libvirt.status.answers import Exportable


@click.command(short_help="Pack a frozen VM into a file.")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--with-base", is_flag=True, help="Pack the base image as well.")
@socket_option
def export(name: str, file: Path, where: Path, *, with_base: bool) -> None:
    """Pack the frozen VM NAME into the new file FILE.

    The label has to allow it, by 'export: true'. The master writes into its audit log that it is
    allowed, and then what came of it. On another machine, 'latent-libvirt thaw FILE --uri
    qemu:///session' continues the VM. The file has all that the VM's memory has, also secrets of
    its build.
    """
    from latent_libvirt.host.exporting import pack  # noqa: PLC0415 (other commands need no libvirt)
    from latent_libvirt.host.libvirtd.errand import visiting  # noqa: PLC0415
    from latent_libvirt.host.names import OwnedVolume  # noqa: PLC0415
    from latent_libvirt.host.states import frozen_io  # noqa: PLC0415

    with pack.new_file(file) as output:
        with Client(where) as client:
            vm = client.ask(ExportRequest(name, asker()), Exportable)
        with _outcome_in_the_audit_log(where, vm.export), visiting(vm.uri) as connection:
            volume = OwnedVolume.parse(vm.memory)
            names = [] if volume is None else [volume]
            read = partial(frozen_io.read_all, connection, vm.storage_pool, names)
            found = read().whole
            if not found:
                raise ControlError(f"{vm.vm} is frozen no more")
            packing = partial(pack.pack, connection, vm.storage_pool, found[0], output)
            packing(with_base=with_base, say=click.echo)
            if not read().whole:
                raise ControlError(f"{vm.vm} has been thawed or deleted while it was packed")
    click.echo(f"{vm.vm} is in {display_name(file)}.")


@contextmanager
def _outcome_in_the_audit_log(where: Path, export: str) -> Iterator[None]:
    """Let the master write down what comes of the block, if it still can."""
    try:
        yield
    except BaseException:
        _report(where, ExportedRequest(export, is_done=False))
        raise
    _report(where, ExportedRequest(export, is_done=True))


def _report(where: Path, request: ExportedRequest) -> None:
    try:
        with Client(where) as client:
            client.ask(request, str)
    except ControlError as error:
        click.echo(f"The master's audit log lacks the outcome: {error.brief}.", err=True)
