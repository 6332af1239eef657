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
@click.argument("name")
@options.output
@click.option(
    "--locked", is_flag=True, help="Refuse packages that differ from the recipe's manifest."
)
@click.option("--rebuild", is_flag=True, help="Build even if there is an image of the same recipe.")
def build(name: str, output: Path, *, locked: bool, rebuild: bool) -> None:
    """Build the image of the recipe NAME, unless there is one of the same recipe."""
    recipe = recipes.load(name)
    with Stages() as stages:
        built = build_image(recipe, output, rebuild=rebuild, locked=locked, reporter=stages)
    say(built.description, str(built.directory))
