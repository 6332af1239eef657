# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt sweep``: frees what was left on the hosts, now.

With a running master, which knows what is alive; or, by the name of a master that will not be back,
without any.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from latent_libvirt.cli.master import count, socket_option
from latent_libvirt.control.client import SWEEP_TIMEOUT, Client
from latent_libvirt.control.messages import (
    ControlError,
    SweepRequest,
)
from latent_libvirt.control.socket_path import socket_path
from latent_libvirt.errors import ConfigurationError, HostError
from latent_libvirt.host.names import Owner
from latent_libvirt.plain_text import shown
from latent_libvirt.status.answers import HostSweep

if TYPE_CHECKING:
    from latent_libvirt.host.owners import Owned

DEFAULT_POOL = "latent_libvirt"
"""The name of a pool whose master.cfg gives it none (``pool.DEFAULT_NAME``)."""


@click.command(short_help="Delete leftovers on the hosts.")
@click.option("--dry-run", is_flag=True, help="Only print what would be deleted.")
@socket_option
@click.option(
    "--list", "listing", is_flag=True, help="List the owners of what is on the host of --uri."
)
@click.option("--owner", help="Delete all of that owner (an id or a master's name, as in --list).")
@click.option("--uri", help="libvirt URI of the host, for --list and --owner.")
@click.option("--pool", help="Its storage pool, for --list and --owner.")
@click.option("--yes", is_flag=True, help="Do not ask before deleting.")
@click.option(
    "--with-jobs", is_flag=True, help="Delete even if builds seem to run in VMs of the owner."
)
def sweep(  # noqa: PLR0913 - click's options
    where: Path,
    owner: str | None,
    uri: str | None,
    pool: str | None,
    *,
    listing: bool,
    dry_run: bool,
    yes: bool,
    with_jobs: bool,
) -> None:
    """Let a running master delete what it owns on its hosts and does not use.

    The master also does it every minute. It deletes only domains and volumes of this master's
    pool that belong to no VM. The exit status is 1 if a host could not be swept.

    With --owner, --uri and --pool, the command needs no master. It deletes everything that the
    owner has on the host, including saved states. Use it for masters that will not be back.
    """
    if not listing and owner is None:
        _ask_the_master(where, dry_run=dry_run)
    elif uri is None or pool is None:
        raise click.UsageError("--list and --owner need --uri and --pool")
    elif listing:
        _list(uri, pool)
    else:
        _free(str(owner), uri, pool, confirmed=yes, with_jobs=with_jobs, dry_run=dry_run)


def _ask_the_master(where: Path, *, dry_run: bool) -> None:
    with Client(where) as client:
        request = SweepRequest(dry_run=dry_run)
        swept = client.ask(request, tuple[HostSweep, ...], timeout=SWEEP_TIMEOUT)
    for host in swept:
        click.echo(_in_words(host, verb="would free" if dry_run else "freed"))
    if any(host.trouble for host in swept):
        raise SystemExit(1)


def _in_words(host: HostSweep, *, verb: str) -> str:
    if host.trouble:
        return shown(f"host {host.host}: could not be swept: {host.trouble}")
    things = [f"host {host.host}: {verb} {thing}" for thing in host.leftovers]
    return shown("\n".join(things)) or f"host {host.host}: nothing is left over"


def _list(uri: str, pool: str) -> None:
    from latent_libvirt.host.libvirtd.errand import visiting  # noqa: PLC0415
    from latent_libvirt.host.owners import owners  # noqa: PLC0415 (other commands need no libvirt)

    with visiting(uri) as connection:
        found = owners(connection, pool)
    for each in found:
        click.echo(ascii(str(each))[1:-1])
    if not found:
        click.echo("Nobody has anything there.")


def _free(  # noqa: PLR0913 - as it is asked for
    owner: str, uri: str, pool: str, *, confirmed: bool, with_jobs: bool, dry_run: bool
) -> None:
    from latent_libvirt.host import sweep as host_sweep  # noqa: PLC0415
    from latent_libvirt.host.libvirtd.errand import visiting  # noqa: PLC0415
    from latent_libvirt.host.owners import owners  # noqa: PLC0415

    with visiting(uri) as connection:
        owned = _the_one(owner, owners(connection, pool))
        for thing in owned.things.in_words():
            click.echo(f"{'would free' if dry_run else 'to be freed'}: {thing}")
        if dry_run:
            return
        _refuse_if_it_lives(owned, with_jobs=with_jobs)
        if not confirmed:
            click.confirm(f"Free all that {owned.owner_id} has there?", abort=True)
        stuck = host_sweep.free(connection, pool, owned.things)
    if stuck:
        raise HostError(str(stuck), resolution="Sweep again when the host has released it.")
    click.echo(f"freed {count(len(owned.things.in_words()), 'thing')} of {owned.owner_id}")


def _the_one(owner: str, found: list[Owned]) -> Owned:
    """Return what is meant by exactly that id or master's name: never what only begins with it."""
    ids = {owner, Owner(owner, DEFAULT_POOL).id}
    meant = [each for each in found if each.owner_id in ids or (owner and each.master == owner)]
    if len(meant) == 1:
        return meant[0]
    there = "\n".join(ascii(str(each))[1:-1] for each in found)
    raise ConfigurationError(
        f"several pools of {owner!r} have something there"
        if meant
        else f"no owner {owner!r} there",
        details=there or "Nobody has anything there.",
        resolution="Name one by its id, the first word of its line." if found else None,
    )


def _refuse_if_it_lives(owned: Owned, *, with_jobs: bool) -> None:
    machine, _, directory = owned.master.partition(":")
    if machine == os.uname().nodename and _answers(socket_path(Path(directory), owned.pool)):
        raise ConfigurationError(
            f"the master {owned.master} runs: it would lose its VMs",
            resolution="Stop it first, or use 'latent-libvirt sweep --socket' to let it sweep.",
        )
    if owned.jobs and not with_jobs:
        raise ConfigurationError(
            f"builds run in {count(owned.jobs, 'VM')} of {owned.owner_id}, or did when their "
            "master ended",
            resolution="See that the master does not run anywhere; then add --with-jobs.",
        )


def _answers(path: Path) -> bool:
    try:
        with Client(path):
            return True
    except ControlError:
        return False
