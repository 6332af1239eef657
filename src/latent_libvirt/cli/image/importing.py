# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt image import``: an image from the disk of another maker."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from latent_libvirt.cli.image import options
from latent_libvirt.cli.image.shown import Stages, say
from latent_libvirt.cli.image.storage import publish_to_all
from latent_libvirt.config.load import load


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@options.image_name(required=True, text="Name of the new image.")
@options.output
@click.option(
    "--run",
    "script",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Program that runs in the guest as root, last. It has no network.",
)
@options.again
@options.disk_size
@options.of_the_vm
@options.pool_file
def import_(file: Path, output: Path, pool_file: str | None, **how: Any) -> None:
    """Make an image of FILE, a cloud image of another maker.

    FILE is the disk of an x86-64 system with cloud-init and systemd, as qcow2, raw, vmdk, vhdx, vdi
    or vhd. It is not changed. A private libvirtd on this machine boots it once, without a network,
    and cloud-init in the guest installs the launcher. Then a VM of the image is booted, saved,
    restored, and becomes a worker.
    """
    from latent_libvirt.importing import importer  # noqa: PLC0415 (it needs libvirt)

    hosts = {} if pool_file is None else load(pool_file).hosts
    wanted = importer.Import(file=file, vcpus=min(2, os.cpu_count() or 1), **how)
    with Stages() as stages:
        made = importer.import_image(wanted, output, stages)
    say(made.description, str(made.directory))
    publish_to_all(made, hosts)
