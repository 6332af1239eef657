# SPDX-License-Identifier: GPL-2.0-only
"""Building for real: equal packages give an equal image, and nothing is left of a failed build."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.images import manifest, recipes
from latent_libvirt.images.build import build
from latent_libvirt.images.local import MANIFEST, LocalImage
from latent_libvirt.images.recipes import Recipe


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


def test_a_locked_build_refuses_other_packages_and_leaves_no_image(
    image: LocalImage, output: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "debian-12"
    shutil.copytree(recipes.load("debian-12").directory, copy)
    (copy / "manifest.txt").write_text("deb bash 1.0\n")

    with pytest.raises(ConfigurationError, match=r"deb bash: \S+ \(was 1\.0\)"):
        build(Recipe(copy), output, locked=True)

    assert left(output) == set()
