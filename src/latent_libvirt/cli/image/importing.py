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
from latent_libvirt.cli.image.given import base_image
from latent_libvirt.cli.image.shown import Stages, say_made
from latent_libvirt.cli.image.storage import publish_to_all
from latent_libvirt.config.load import load
from latent_libvirt.images import derived, recipes

if TYPE_CHECKING:
    from latent_libvirt.images.local import LocalImage


@click.command(name="import")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option(
    "--from",
    "base",
    metavar="IMAGE",
    help="Recipe or local image to derive from.",
)
@options.image_name(required=True, text="Name of the new image.")
@options.output
@options.script
@options.packages
@options.allow
@options.again
@options.disk_size
@options.of_the_vm
@options.pool_file
def import_(
    file: Path | None, base: str | None, output: Path, pool_file: str | None, **how: Any
) -> None:
    """Make an image of FILE, a cloud image of another maker, or of another image.

    FILE is the disk of an x86-64 system with cloud-init and systemd, as qcow2, raw, vmdk, vhdx, vdi
    or vhd. It is not changed. A private libvirtd on this machine boots it once, without a network,
    and cloud-init in the guest installs the launcher. Then a VM of the image is booted, saved,
    restored, and becomes a worker.

    With --from, the image is made of IMAGE, with the packages and the program. If that is a recipe
    that ships, the image is built from it. If it is a local image, a VM of it is booted once.

    With --packages, the guest's package tool reaches the sources of this machine's apt, and what
    --allow names, through a proxy.
    """
    if (file is None) == (base is None):
        raise click.UsageError("name the FILE of a disk, or an image by --from")
    if base is not None and how["firmware"] is not None:
        raise click.UsageError("--firmware is for a FILE, and IMAGE has its own")
    if how["allow"] and not how["packages"]:
        raise click.UsageError("--allow is for --packages, and there are none")
    hosts = {} if pool_file is None else load(pool_file).hosts
    if file is not None:
        made = _imported(file, output, how)
    elif base in recipes.names():
        made = _built(base, output, how)
    else:
        assert base is not None
        made = _derived(base, output, how)
    say_made(made.description, made.directory)
    publish_to_all(made, hosts)


def _imported(file: Path, output: Path, how: Mapping[str, Any]) -> LocalImage:
    from latent_libvirt.importing import customising, importer  # noqa: PLC0415 (libvirt)

    wanted = customising.Customised(file=file, vcpus=_vcpus(), **how)
    with Stages() as stages:
        return importer.import_image(wanted, output, stages)


def _built(base: str, output: Path, how: Mapping[str, Any]) -> LocalImage:
    if how["allow"]:
        raise click.UsageError(f"packages for {base} come from this machine's apt, without --allow")
    own = {key: how[key] for key in ("name", "script", "packages", "again")}
    with Stages() as stages:
        return derived.derive(derived.Derived(base, disk=_disk(how), **own), output, stages)


def _derived(base: str, output: Path, how: Mapping[str, Any]) -> LocalImage:
    from latent_libvirt.importing import derivation, importer  # noqa: PLC0415 (libvirt)

    image = base_image(base, output)
    values = {**how, "disk": _disk(how), "file": image.path("disk"), "vcpus": _vcpus()}
    with Stages() as stages:
        return importer.derive(derivation.Derivation(base=image, **values), output, stages)


def _disk(how: Mapping[str, Any]) -> int | None:
    """Return the size of the disk, if one was given: else it is that of the base."""
    given = click.get_current_context().get_parameter_source("disk")
    return None if given is ParameterSource.DEFAULT else how["disk"]


def _vcpus() -> int:
    return min(2, os.cpu_count() or 1)
