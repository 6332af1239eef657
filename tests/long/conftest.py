# SPDX-License-Identifier: GPL-2.0-only
"""What long tests share: the image of this clone's recipe, and a libvirtd per test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from latent_libvirt.images import recipes
from latent_libvirt.images.build import build
from latent_libvirt.images.local import LocalImage
from latent_libvirt.sandbox import PrivateLibvirtd


@pytest.fixture
def sandbox(tmp_path: Path, cache: Path) -> Iterator[PrivateLibvirtd]:
    """Give a libvirtd of the test's own, running and empty."""
    with PrivateLibvirtd(tmp_path / "libvirtd", capability_cache=cache / "libvirt") as running:
        yield running


@pytest.fixture(scope="session")
def image(cache: Path) -> LocalImage:
    """Give the image of this clone's debian-12 recipe, built unless the cache has it."""
    return build(recipes.load("debian-12"), cache / "images")
