# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt image list``, ``verify`` and ``delete``: the images that there are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from latent_libvirt.cli.image import options
from latent_libvirt.cli.image.shown import as_documents, console, moving, say, table, warn
from latent_libvirt.cli.image.storage import opened
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.images import local as local_images

if TYPE_CHECKING:
    from latent_libvirt.images.description import Description


@click.command(name="list")
@options.output
@options.storage_pool(required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def list_(output: Path, uri: str | None, pool: str | None, *, as_json: bool) -> None:
    """List local images, or with --uri and --pool the published ones.

    What has a damaged description is listed after them, with what to do.
    """
    if uri is None and pool is None:
        local, damaged = local_images.sound_and_damaged(output)
        found = [each.description for each in local]
    else:
        found, damaged = _published(uri, pool)
    if as_json:
        click.echo(json.dumps({"images": as_documents(found), "damaged": damaged}, indent=2))
        return
    _print(found, damaged)


def _print(found: list[Description], damaged: list[str]) -> None:
    for each in damaged:
        warn(each)
    if found:
        console.print(table(found))
    else:
        console.print("There are none.")


@click.command
@click.argument("name", required=False)
@options.output
@options.storage_pool(required=False)
def verify(name: str | None, output: Path, uri: str | None, pool: str | None) -> None:
    """Compare images with their digests: all, or those called NAME.

    Reads local images. With --uri and --pool, it downloads and compares the published ones.
    """
    if uri is None and pool is None:
        count = _verify_local(name, output)
    else:
        count = _verify_published(name, uri, pool)
    if count == 0:
        raise ConfigurationError("there is no such image to verify")


@click.command
@click.argument("name")
@click.argument("digest", callback=options.digest)
@options.storage_pool(required=True)
def delete(name: str, digest: str, uri: str, pool: str) -> None:
    """Delete the published image NAME whose digest begins with DIGEST, of 6 or more digits."""
    from latent_libvirt.host.volumes import images  # noqa: PLC0415

    with opened(uri, pool) as storage:
        found = images.find(storage, name, digest)
        images.delete(storage, found)
    say(found.description, f"is deleted from {pool} of {uri}")


def _verify_local(name: str | None, output: Path) -> int:
    found = local_images.local_images(output, name)
    for each in found:
        with moving(f"Verify {each.description.name}") as progress:
            each.verify(progress)
        say(each.description, "is what was built")
    return len(found)


def _verify_published(name: str | None, uri: str | None, pool: str | None) -> int:
    from latent_libvirt.host.volumes import images  # noqa: PLC0415

    with opened(uri, pool) as storage:
        found = [each for each in images.published(storage) if name in (None, each.name)]
        for each in found:
            with moving(f"Verify {each.name}") as progress:
                images.verify(storage, each, progress)
            say(each.description, "is what was published")
    return len(found)


def _published(uri: str | None, pool: str | None) -> tuple[list[Description], list[str]]:
    from latent_libvirt.host.volumes import (  # noqa: PLC0415
        images,
        storage,
    )

    with opened(uri, pool) as there:
        storage.refresh(there)
        found = [each.description for each in images.published(there)]
        return found, list(images.damaged(there))
