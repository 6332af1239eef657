# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt image build``: an image from a recipe."""

from __future__ import annotations

from pathlib import Path

import click

from latent_libvirt.cli.image import options
from latent_libvirt.cli.image.shown import Stages, say
from latent_libvirt.images import recipes
from latent_libvirt.images.build import build as build_image


@click.command
@click.argument("recipe", metavar="NAME|DIRECTORY")
@options.output
@click.option(
    "--locked", is_flag=True, help="Refuse packages that differ from the recipe's manifest."
)
@click.option("--rebuild", is_flag=True, help="Build even if there is an image of the same recipe.")
def build(recipe: str, output: Path, *, locked: bool, rebuild: bool) -> None:
    """Build the image of a recipe, unless there is one of the same recipe.

    NAME is that of a recipe that ships with this package. DIRECTORY has a recipe of your own, and
    its name is that of the image.
    """
    found = recipes.find(recipe)
    with Stages() as stages:
        built = build_image(found, output, rebuild=rebuild, locked=locked, reporter=stages)
    say(built.description, str(built.directory))
