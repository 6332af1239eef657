# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt image publish``: images to one storage pool, or to all hosts of a pool."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latent_libvirt.cli.image import options
from latent_libvirt.cli.image.given import local_image
from latent_libvirt.cli.image.shown import Stages, console, say_made
from latent_libvirt.cli.image.storage import publish_all, publish_to, publish_to_all
from latent_libvirt.config.load import load
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.images import local as local_images
from latent_libvirt.plain_text import display_name

if TYPE_CHECKING:
    from latent_libvirt.images.local import LocalImage


@click.command
@click.argument("image", metavar="NAME|DIRECTORY|FILE", required=False)
@click.option(
    "--all", "every", is_flag=True, help="Every image that the labels of the pool file use."
)
@options.image_name(required=False, text="Name of the new image. FILE needs one.")
@options.output
@options.again
@options.of_the_vm
@options.storage_pool(required=False)
@options.pool_file
def publish(  # noqa: PLR0913 - click's options
    image: str | None,
    name: str | None,
    output: Path,
    *,
    every: bool,
    uri: str | None,
    pool: str | None,
    pool_file: str | None,
    **how: Any,
) -> None:
    """Upload an image to a host's storage pool, or to all hosts of a pool.

    NAME is that of a local image, of which the newest is taken. DIRECTORY is that of a local image.
    FILE is a disk that keeps the image contract, and becomes a local image first. For that, a
    private libvirtd on this machine boots a VM of it, saves it, restores it, and makes it a worker.

    With --pool-file, if one host does not get the image, the others do, and the exit status is 1.
    """
    if (pool_file is None) == (uri is None and pool is None):
        raise click.UsageError("name a host by --uri and --pool, or all hosts by --pool-file")
    if every:
        _publish_every(image, name, output, pool_file)
        return
    if image is None:
        raise click.UsageError("name an image, or all of a pool file by --all")
    hosts = {} if pool_file is None else load(pool_file).hosts
    found = local_image(image, output) if name is None else _adopted(image, output, name, how)
    if pool_file is None:
        publish_to(found, uri, pool)
    else:
        publish_to_all(found, hosts)


def _publish_every(
    image: str | None, name: str | None, output: Path, pool_file: str | None
) -> None:
    """Publish the newest local image of each name that a label uses."""
    if image is not None or name is not None or pool_file is None:
        raise click.UsageError("--all takes --pool-file, and no name of an image")
    config = load(pool_file)
    used = [config.image_for(label) for label in config.labels.values()]
    names = sorted({each.name for each in used if each.name is not None})
    found = [local for each in names for local in local_images.local_images(output, each)[:1]]
    there = {local.description.name for local in found}
    if lacking := [each for each in names if each not in there]:
        console.print(f"No local image: {', '.join(lacking)}.", markup=False, style="yellow")
    if not found:
        raise ConfigurationError(
            f"there is no local image that a label of {display_name(pool_file)} uses",
            details=f"Its images are {', '.join(names) or 'volumes'}.",
            resolution="Build or import one, or say with --output where they are.",
        )
    publish_all(found, config.hosts)


def _adopted(file: str, output: Path, name: str, how: Mapping[str, Any]) -> LocalImage:
    """Make a local image of a disk that keeps the contract."""
    from latent_libvirt.importing import importer, making  # noqa: PLC0415 (libvirt)

    wanted = making.Wanted(file=Path(file), name=name, vcpus=min(2, os.cpu_count() or 1), **how)
    with Stages() as stages:
        made = importer.adopt(wanted, output, stages)
    say_made(made.description, made.directory)
    return made
