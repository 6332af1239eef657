# SPDX-License-Identifier: GPL-2.0-only
"""What all integration tests share: where the clone keeps its caches, and a libvirtd per test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import buildmaster
import lab as lab_module
from buildmaster import BuildMaster
from lab import Lab
from latent_libvirt.images import recipes
from latent_libvirt.images.build import build
from latent_libvirt.images.local import LocalImage
from latent_libvirt.sandbox import PrivateLibvirtd
from pools import WORKERS_OF_THE_POOL, MakeMaster, PoolSettings, master_cfg, write_pool


@pytest.fixture(scope="session")
def cache(pytestconfig: pytest.Config) -> Path:
    """Give the directory of what takes long to make and outlives a run: images, capabilities."""
    return pytestconfig.rootpath / ".cache"


@pytest.fixture
def sandbox(tmp_path: Path, cache: Path) -> Iterator[PrivateLibvirtd]:
    """Give a libvirtd of the test's own, running and empty."""
    with PrivateLibvirtd(tmp_path / "libvirtd", capability_cache=cache / "libvirt") as running:
        yield running


@pytest.fixture(scope="session")
def image(cache: Path) -> LocalImage:
    """Give the image of this clone's debian-12 recipe, built unless the cache has it."""
    return build(recipes.load("debian-12"), cache / "images")


@pytest.fixture(scope="session")
def shared_lab(
    tmp_path_factory: pytest.TempPathFactory, cache: Path, image: LocalImage
) -> Iterator[Lab]:
    """Give one hypervisor, with the image published, to all tests that do not hurt it."""
    with lab_module.running(tmp_path_factory.mktemp("lab"), cache=cache) as lab:
        lab.publish(image)
        yield lab


@pytest.fixture
def lab(shared_lab: Lab) -> Iterator[Lab]:
    """Give a hypervisor without VMs, and see that none is left."""
    yield shared_lab
    try:
        buildmaster.wait_for("everything to be freed", lambda: not shared_lab.leftovers())
    finally:
        # What one test leaves is its own fault, and not to be found by the next.
        shared_lab.destroy_domains()
        shared_lab.delete_overlays()


@pytest.fixture
def make_master(lab: Lab, tmp_path: Path) -> Iterator[MakeMaster]:
    """Give a way to start masters with a builder and a pool; they are stopped at the end."""
    with contextlib.ExitStack() as masters:

        def make(
            factory: str,
            *,
            workers: str = WORKERS_OF_THE_POOL,
            settings: PoolSettings | None = None,
            more: str = "",
        ) -> BuildMaster:
            directory = tmp_path / f"master-{len(list(tmp_path.iterdir()))}"
            directory.mkdir()
            write_pool(directory, lab.uri, settings or PoolSettings())
            configuration = master_cfg(factory, workers=workers) + more
            return masters.enter_context(buildmaster.running(directory, configuration))

        yield make
