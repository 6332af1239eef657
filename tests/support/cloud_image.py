# SPDX-License-Identifier: GPL-2.0-only
"""A cloud image as Debian makes its own, from Debian's packages: what an import gets."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from latent_libvirt.images.build import build
from latent_libvirt.images.local import local_images
from latent_libvirt.images.recipes import Recipe

_RECIPES = Path(__file__).parents[1]
_WHOLE = "cloud-debian-12"
_MADE_OF = "made-of"


def cloud_image(cache: Path, release: str = "debian-12") -> Path:
    """Return the disk, made unless *cache* has one of the same recipe.

    No file of ours is in it. So it does not get old when the launcher or a builder is changed.
    """
    output, name = cache / "images", f"cloud-{release}"
    with tempfile.TemporaryDirectory() as temporary:
        recipe = Path(temporary, name)
        for part in (_WHOLE, name):
            shutil.copytree(_RECIPES / part, recipe, dirs_exist_ok=True)
        made_of = _hash_of(recipe)
        for image in local_images(output, name):
            mark = image.directory / _MADE_OF
            if mark.exists() and mark.read_text() == made_of:
                return image.path("disk")
        built = build(Recipe(recipe), output)
    (built.directory / _MADE_OF).write_text(made_of)
    return built.path("disk")


def _hash_of(recipe: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path for path in recipe.rglob("*") if path.is_file()):
        digest.update(f"{file.relative_to(recipe)}\n".encode() + file.read_bytes())
    return digest.hexdigest()
