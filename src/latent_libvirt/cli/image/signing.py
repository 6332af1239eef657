# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt image sign``: an ssh signature for a local image, which is published with it."""

from __future__ import annotations

from pathlib import Path

import click

from latent_libvirt.cli.image import options
from latent_libvirt.cli.image.given import local_image
from latent_libvirt.cli.image.shown import moving, say
from latent_libvirt.images import local, signing


@click.command
@click.argument("image", metavar="NAME|DIRECTORY")
@click.option(
    "--key",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Private ssh key, or the public one of a key that ssh-agent has.",
)
@options.output
def sign(image: str, key: Path, output: Path) -> None:
    """Sign a local image, so that hosts of a pool with `require_signed` start VMs from it.

    NAME is that of a local image, of which the newest is taken. Its files are compared with its
    digest first. `image publish` brings the signature to the hosts, and does not upload again what
    is there.
    """
    found = local_image(image, output)
    with moving(f"Verify {found.description.name}") as progress:
        found.verify(progress)
    signed = signing.sign(found.description, key)
    local.describe(found.directory, signed)
    say(signed, "is signed. Publish it: latent-libvirt image publish")
