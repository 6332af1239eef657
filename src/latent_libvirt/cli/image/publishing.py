# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt image publish``: images to one storage pool, or to all hosts of a pool."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from latent_libvirt.advice import page
from latent_libvirt.cli.image import options
from latent_libvirt.cli.image.shown import Stages, console, say
from latent_libvirt.cli.image.storage import publish_all, publish_to, publish_to_all
from latent_libvirt.config.fields import NAME_PATTERN
from latent_libvirt.config.load import load
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.images import local as local_images
from latent_libvirt.images.local import DESCRIPTION, LocalImage
from latent_libvirt.plain_text import display_name


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
    found = _local_image(image, output) if name is None else _adopted(image, output, name, how)
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
    from latent_libvirt.importing import importer  # noqa: PLC0415 (it needs libvirt)

    wanted = importer.Wanted(file=Path(file), name=name, vcpus=min(2, os.cpu_count() or 1), **how)
    with Stages() as stages:
        made = importer.adopt(wanted, output, stages)
    say(made.description, str(made.directory))
    return made


def _local_image(name_or_directory: str, output: Path) -> LocalImage:
    directory = Path(name_or_directory)
    if os.path.lexists(directory / DESCRIPTION):
        return LocalImage.load(directory)
    if not re.fullmatch(NAME_PATTERN, name_or_directory):
        raise _no_image_of_ours(name_or_directory)
    return local_images.newest(output, name_or_directory)


def _no_image_of_ours(given: str) -> ConfigurationError:
    """Return what to say of a path where the name or the directory of a local image belongs."""
    shown, path = display_name(given), Path(given)
    if path.is_file():
        return ConfigurationError(
            f"{shown} is a disk without a name",
            details="VMs take an image by its name.",
            resolution="Add --name NAME to publish a disk that keeps the image contract "
            f"({page('docs/reference/image-contract.md')}). A cloud image needs 'latent-libvirt "
            "image import'.",
        )
    what = "is not there" if not os.path.lexists(path) else "is no image that was built here"
    return ConfigurationError(
        f"{shown} {what}",
        details="What is published is the NAME of a local image, its DIRECTORY with "
        f"{DESCRIPTION} in it, or the FILE of a disk.",
        resolution="'latent-libvirt image list' shows the local images.",
    )
