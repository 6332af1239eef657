# SPDX-License-Identifier: GPL-2.0-only
"""What all integration tests share: where the clone keeps its caches, and a libvirtd per test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from latent_libvirt.sandbox import PrivateLibvirtd


@pytest.fixture(scope="session")
def cache(pytestconfig: pytest.Config) -> Path:
    """Give the directory of what takes long to make and outlives a run: images, capabilities."""
    return pytestconfig.rootpath / ".cache"


@pytest.fixture
def sandbox(tmp_path: Path, cache: Path) -> Iterator[PrivateLibvirtd]:
    """Give a libvirtd of the test's own, running and empty."""
    with PrivateLibvirtd(tmp_path / "libvirtd", capability_cache=cache / "libvirt") as running:
        yield running
