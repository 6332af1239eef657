# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt image import``: an image from another maker's disk, or from another image."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from latent_libvirt.cli.image import options
from latent_libvirt.cli.image.shown import Stages, say
from latent_libvirt.cli.image.storage import publish_to_all
from latent_libvirt.config.load import load
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.images import derived

if TYPE_CHECKING:
    from latent_libvirt.images.local import LocalImage


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--from", "base", metavar="IMAGE", help="Recipe to derive from, such as debian-12.")
@options.image_name(required=True, text="Name of the new image.")
@options.output
@click.option(
    "--run",
    "script",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Program that runs in the guest as root, last. It has no network.",
)
@options.packages
@options.again
@options.disk_size
@options.of_the_vm
@options.pool_file
def import_(
    file: Path | None,
    base: str | None,
    output: Path,
    pool_file: str | None,
    packages: tuple[str, ...],
    **how: Any,
) -> None:
    """Make an image of FILE, a cloud image of another maker, or of another image.

    FILE is the disk of an x86-64 system with cloud-init and systemd, as qcow2, raw, vmdk, vhdx, vdi
    or vhd. It is not changed. A private libvirtd on this machine boots it once, without a network,
    and cloud-init in the guest installs the launcher. Then a VM of the image is booted, saved,
    restored, and becomes a worker.

    With --from, the image is built from the recipe IMAGE, with the packages and the program.
    """
    if (file is None) == (base is None):
        raise click.UsageError("name the FILE of a disk, or an image by --from")
    hosts = {} if pool_file is None else load(pool_file).hosts
    if base is not None:
        made = _derived(base, packages, output, how)
    else:
        assert file is not None
        _refuse_packages(packages)
        made = _imported(file, output, how)
    say(made.description, str(made.directory))
    publish_to_all(made, hosts)


def _imported(file: Path, output: Path, how: Mapping[str, Any]) -> LocalImage:
    from latent_libvirt.importing import importer  # noqa: PLC0415 (it needs libvirt)

    wanted = importer.Import(file=file, vcpus=min(2, os.cpu_count() or 1), **how)
    with Stages() as stages:
        return importer.import_image(wanted, output, stages)


def _derived(
    base: str, packages: tuple[str, ...], output: Path, how: Mapping[str, Any]
) -> LocalImage:
    given = click.get_current_context().get_parameter_source("disk")
    disk = None if given is ParameterSource.DEFAULT else how["disk"]
    own = {key: how[key] for key in ("name", "script", "again")}
    with Stages() as stages:
        return derived.derive(
            derived.Derived(base, packages=packages, disk=disk, **own), output, stages
        )


def _refuse_packages(packages: tuple[str, ...]) -> None:
    """Refuse packages for the disk of another maker, whose packages nobody here knows."""
    if packages:
        raise ConfigurationError(
            "packages can only be added to an image that is derived with --from",
            details="What FILE has installed, and from where its packages come, is not known "
            "before it runs. The guest downloads nothing.",
            resolution="Bring the packages in a program by --run, or derive a Debian image: "
            "--from debian-12 --packages NAME",
        )
