# SPDX-License-Identifier: GPL-2.0-only
"""A cloud image as Debian makes its own, from Debian's packages: what an import gets."""

from __future__ import annotations

import hashlib
from pathlib import Path

from latent_libvirt.images.build import build
from latent_libvirt.images.local import local_images
from latent_libvirt.images.recipes import Recipe

_RECIPE = Path(__file__).parents[1] / "cloud-debian-12"
_MADE_OF = "made-of"


def cloud_image(cache: Path) -> Path:
    """Return the disk, made unless *cache* has one of the same recipe.

    No file of ours is in it. So it does not get old when the launcher or a builder is changed.
    """
    output, made_of = cache / "images", _hash_of_recipe()
    for image in local_images(output, _RECIPE.name):
        mark = image.directory / _MADE_OF
        if mark.exists() and mark.read_text() == made_of:
            return image.path("disk")
    built = build(Recipe(_RECIPE), output)
    (built.directory / _MADE_OF).write_text(made_of)
    return built.path("disk")


def _hash_of_recipe() -> str:
    digest = hashlib.sha256()
    for file in sorted(path for path in _RECIPE.rglob("*") if path.is_file()):
        digest.update(f"{file.relative_to(_RECIPE)}\n".encode() + file.read_bytes())
    return digest.hexdigest()
