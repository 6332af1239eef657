# SPDX-License-Identifier: GPL-2.0-only
"""What tests of several masters share: one PostgreSQL, one router, and masters for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import installation as installation_module
from installation import Installation
from latent_libvirt.sandbox.postgresql import PrivatePostgreSQL
from latent_libvirt.sandbox.router import PrivateRouter


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivatePostgreSQL]:
    """Give a PostgreSQL; a test that stops it starts it again."""
    with PrivatePostgreSQL(tmp_path_factory.mktemp("postgresql")) as running:
        yield running


@pytest.fixture(scope="session")
def router(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[PrivateRouter]:
    """Give a router; a test that stops it starts it again."""
    directory = tmp_path_factory.mktemp("router")
    with PrivateRouter(directory, environment=cache / "crossbar-venv") as running:
        yield running


@pytest.fixture(scope="session")
def template(postgresql: PrivatePostgreSQL, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the directory that masters' directories are copies of."""
    return installation_module.make_template(postgresql, tmp_path_factory.mktemp("template"))


@pytest.fixture
def installation(
    tmp_path: Path, postgresql: PrivatePostgreSQL, router: PrivateRouter, template: Path
) -> Iterator[Installation]:
    """Give an installation with a database of its own, and no masters yet."""
    with installation_module.running(tmp_path, postgresql, router, template) as running:
        yield running
