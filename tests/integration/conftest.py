# SPDX-License-Identifier: GPL-2.0-only
"""What all integration tests share: where the clone keeps its caches, and a libvirtd per test."""

from __future__ import annotations

import contextlib
from collections import defaultdict
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
from ready import ReadyLab

_BUILDS_THE_IMAGE = "images/test_debian_12.py"
_USE_IT_UNSEEN = ("bench/", "deploy/")
_LONGEST = ("test_killed_at_random.py", "test_resumed.py", "test_silent_hosts.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files so that no worker waits for the image, nor at the end for another worker.

    A first run builds the image, which takes minutes. One worker does that, and the others run
    what needs none. Then come the files that take longest. What is quick comes last.
    """
    here = Path(__file__).parent
    files: defaultdict[Path, list[pytest.Item]] = defaultdict(list)
    for item in items:
        files[item.path].append(item)
    ordered = sorted(files, key=lambda path: _place(path, here, files[path]))
    items[:] = [item for path in ordered for item in files[path]]


def _place(path: Path, here: Path, items: list[pytest.Item]) -> int:
    if not path.is_relative_to(here):
        return 4
    name = path.relative_to(here).as_posix()
    if name == _BUILDS_THE_IMAGE:
        return 0
    if not name.startswith(_USE_IT_UNSEEN) and not any(map(_needs_the_image, items)):
        return 1
    return 2 if name in _LONGEST else 3


def _needs_the_image(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and "image" in item.fixturenames


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
    with _left_empty(shared_lab) as lab:
        yield lab


@contextlib.contextmanager
def _left_empty(lab: Lab) -> Iterator[Lab]:
    yield lab
    try:
        buildmaster.wait_for("everything to be freed", lambda: not lab.leftovers())
    finally:
        # What one test leaves is its own fault, and not to be found by the next.
        lab.destroy_domains()
        lab.delete_overlays()


@pytest.fixture(scope="session")
def shared_ready_lab(
    tmp_path_factory: pytest.TempPathFactory, cache: Path, image: LocalImage
) -> Iterator[ReadyLab]:
    """Give a hypervisor where VMs are resumed, to all tests that do not hurt it."""
    directory = tmp_path_factory.mktemp("ready")
    with lab_module.running(directory / "lab", cache=cache) as lab:
        lab.publish(image)
        yield ReadyLab(lab, directory / "master")


@pytest.fixture
def ready_lab(shared_ready_lab: ReadyLab) -> Iterator[Lab]:
    """Give a hypervisor without VMs, where those of the test's master are resumed."""
    shared_ready_lab.save()
    with _left_empty(shared_ready_lab.lab) as lab:
        yield lab


@pytest.fixture
def make_ready_master(
    ready_lab: Lab, shared_ready_lab: ReadyLab, tmp_path: Path
) -> Iterator[MakeMaster]:
    """Give a way to start masters there; they are stopped at the end."""
    with shared_ready_lab.masters(tmp_path) as make:
        yield make


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
