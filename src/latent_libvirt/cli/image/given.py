# SPDX-License-Identifier: GPL-2.0-only
"""Local image that a command line names: by its name, or by its directory."""

from __future__ import annotations

import os
import re
from pathlib import Path

from latent_libvirt.advice import page
from latent_libvirt.advice.guesses import nearest
from latent_libvirt.config.fields.names import NAME_PATTERN
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.images import local as local_images
from latent_libvirt.images import recipes
from latent_libvirt.images.local import DESCRIPTION, LocalImage
from latent_libvirt.plain_text import display_name


def local_image(name_or_directory: str, output: Path) -> LocalImage:
    """Return the newest local image of that name, or the one in a directory.

    :raises ConfigurationError: there is none.
    """
    if (found := _in_directory(name_or_directory)) is not None:
        return found
    if not re.fullmatch(NAME_PATTERN, name_or_directory):
        raise _no_image_of_ours(name_or_directory)
    there = local_images.local_images(output)
    for image in there:
        if image.description.name == name_or_directory:
            return image
    if name_or_directory in recipes.names():
        return local_images.newest(output, name_or_directory)  # which says how to build it
    raise _no_such_image(name_or_directory, output, there)


def base_image(name_or_directory: str, output: Path) -> LocalImage:
    """Return the newest local image of that name, or the one in a directory, to derive from.

    :raises ConfigurationError: there is none; with the images and recipes that there are.
    """
    if (found := _in_directory(name_or_directory)) is not None:
        return found
    there = local_images.local_images(output)
    for image in there:
        if image.description.name == name_or_directory:
            return image
    names = sorted({*recipes.names(), *(image.description.name for image in there)})
    near = nearest(name_or_directory, tuple(names))
    raise ConfigurationError(
        f"there is no image {display_name(name_or_directory)} to derive from",
        details=f"Recipes, and images below {output}: {', '.join(names)}.",
        resolution=f"Did you mean {near!r}?"
        if near
        else "Build or import it first, or say with --output where it is.",
    )


def _no_such_image(name: str, output: Path, there: tuple[LocalImage, ...]) -> ConfigurationError:
    """Return what to say of a name that neither a local image has, nor a recipe."""
    names = sorted({image.description.name for image in there})
    near = nearest(name, (*names, *recipes.names()))
    return ConfigurationError(
        f"there is no image {name!r} below {output}",
        details=f"Images there: {', '.join(names) or 'none'}. "
        f"Recipes that an image can be built of: {', '.join(recipes.names())}.",
        resolution=f"Did you mean {near!r}?"
        if near
        else "Build or import it first, or say with --output where it is.",
    )


def _in_directory(name_or_directory: str) -> LocalImage | None:
    """Return the image in that directory, if it has one. No name is not the current directory."""
    directory = Path(name_or_directory)
    if name_or_directory and os.path.lexists(directory / DESCRIPTION):
        return LocalImage.load(directory)
    return None


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
