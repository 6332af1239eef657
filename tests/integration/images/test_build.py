# SPDX-License-Identifier: GPL-2.0-only
"""Building for real: equal packages give an equal image."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from latent_libvirt.images import manifest, recipes
from latent_libvirt.images.build import build
from latent_libvirt.images.local import MANIFEST, LocalImage


@pytest.fixture
def output(cache: Path, tmp_path: Path) -> Path:
    """Give a directory without images, but with the packages that the cache has."""
    output = tmp_path / "images"
    shutil.copytree(cache / "images/debian-12/cache", output / "debian-12/cache")
    return output


def left(output: Path) -> set[str]:
    return {path.name for path in (output / "debian-12").iterdir()} - {"cache", "lock"}


def test_equal_packages_give_an_equal_image(image: LocalImage, output: Path) -> None:
    recipe = recipes.load("debian-12")
    first, again = image, build(recipe, output)
    if manifest.read(again.directory / MANIFEST) != manifest.read(image.directory / MANIFEST):
        # Debian has published something since the cached one was built.
        first, again = again, build(recipe, output, rebuild=True)

    assert again.description.parts == first.description.parts
    assert again.description.digest == first.description.digest
    assert left(output) == {again.description.short_digest}
    again.verify()
