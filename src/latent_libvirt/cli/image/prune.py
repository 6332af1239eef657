# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt image prune``: deletes the published images that nothing needs any more.

What is needed is decided in ``latent_libvirt.host.volumes.prune``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from latent_libvirt.cli.hosts import chosen, host_option
from latent_libvirt.cli.numbers import WholeNumber
from latent_libvirt.config.load import load
from latent_libvirt.errors import LatentLibvirtError

if TYPE_CHECKING:
    from latent_libvirt.config.sections.host import HostConfig
    from latent_libvirt.host.volumes.prune import Needs


@dataclass(frozen=True)
class _Orders:
    needs: Needs
    dry_run: bool


@click.command
@click.argument("file", type=click.Path(), default="pool.yaml")
@host_option
@click.option(
    "--keep",
    type=WholeNumber(min=1),
    default=1,
    show_default=True,
    help="Number of newest images of each name to keep.",
)
@click.option("--dry-run", is_flag=True, help="Only print what would be deleted.")
def prune(file: str, names: tuple[str, ...], *, keep: int, dry_run: bool) -> None:
    """Delete images that nothing needs, on the hosts of FILE, by default pool.yaml.

    Keeps the newest image of each name, images that FILE pins or names, and images that any
    volume or domain on the host is based on, no matter who owns it. Deletes what an interrupted
    upload left after a day. If a host does not answer all questions, nothing is deleted there,
    and the exit status is 1.
    """
    from latent_libvirt.host.volumes.prune import Needs  # noqa: PLC0415 (other commands need no libvirt)

    config = load(file)
    orders = _Orders(Needs.of(config, keep=keep), dry_run)
    done = [_prune_host(name, config.hosts[name], orders) for name in chosen(config, names)]
    if not all(done):
        raise SystemExit(1)


def _prune_host(name: str, host: HostConfig, orders: _Orders) -> bool:
    """Prune one host, and say what happens; return whether all went well."""
    try:
        for line in _pruned(host, orders):
            click.echo(f"{name}: {line}")
    except LatentLibvirtError as error:
        reason = " ".join(filter(None, (error.brief, error.details)))
        click.echo(f"{name}: cannot be pruned: {reason}", err=True)
        return False
    return True


def _pruned(host: HostConfig, orders: _Orders) -> Iterator[str]:
    from latent_libvirt.host.libvirtd.errand import visiting  # noqa: PLC0415
    from latent_libvirt.host.volumes import images, storage  # noqa: PLC0415
    from latent_libvirt.host.volumes import prune as host_prune  # noqa: PLC0415

    with visiting(host.uri) as connection:
        stored = host_prune.survey(connection, host.storage_pool)
        verdicts = host_prune.judge(stored, orders.needs, now=datetime.now(UTC))
        yield from (f"keeps {each.image}: {each.kept}" for each in verdicts if each.kept)
        pool = storage.storage_pool(connection, host.storage_pool)
        yield from (f"damaged: {each}" for each in images.damaged(pool))
        freed = 0
        for image in [each.image for each in verdicts if not each.kept]:
            if orders.dry_run:
                yield f"would delete {image}, {_bytes(image.size)}"
            elif host_prune.delete(connection, host.storage_pool, image):
                yield f"deleted {image}, {_bytes(image.size)}"
            else:
                yield f"keeps {image}: it has come into use just now"
                continue
            freed += image.size
        yield f"{'would free' if orders.dry_run else 'freed'} {_bytes(freed)}"


def _bytes(size: int) -> str:
    return f"{size} bytes ({size / 2**20:.1f} MiB)"
