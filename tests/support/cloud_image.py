# SPDX-License-Identifier: GPL-2.0-only
"""A cloud image as Debian makes its own, from Debian's packages: what an import gets."""

from __future__ import annotations

from pathlib import Path

from latent_libvirt.images.build import build
from latent_libvirt.images.recipes import Recipe

_RECIPE = Path(__file__).parents[1] / "cloud-debian-12"


def cloud_image(cache: Path) -> Path:
    """Return the disk, made unless *cache* has it."""
    return build(Recipe(_RECIPE), cache / "images").path("disk")
