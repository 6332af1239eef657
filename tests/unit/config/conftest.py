# SPDX-License-Identifier: GPL-2.0-only
"""Files with something in them, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from latent_libvirt.config import InvalidConfiguration, PoolConfig, load

GOOD = """\
master:
  max_vms: 4
hosts:
  alpha:
    uri: qemu:///system
    slots: 4
    storage_pool: default
  beta:
    uri: qemu+ssh://builder@beta/system
    slots: 2
    storage_pool: builds
images:
  pinned:
    name: debian-12
    digest: 3f9a0c52d1e7
labels:
  debian-12:
    image: debian-12
    memory: 1GiB
  large:
    image: pinned
    hosts: [beta]
    max_vms: 1
"""

Load = Callable[[str | bytes], PoolConfig]
Problems = Callable[[str | bytes], list[str]]


@pytest.fixture(scope="session")
def load_text(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Return a function that loads a file of that content."""
    path = tmp_path_factory.mktemp("config") / "pool.yaml"

    def loaded(content: str | bytes) -> PoolConfig:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load(path)

    return loaded


@pytest.fixture(scope="session")
def problems_of(load_text: Load) -> Problems:
    """Return a function that gives the problems of such a file, without the file's name."""

    def problems(content: str | bytes) -> list[str]:
        try:
            load_text(content)
        except InvalidConfiguration as error:
            prefix = f"{error.path}:"
            return [str(problem).removeprefix(prefix) for problem in error.problems]
        return []

    return problems


@pytest.fixture(scope="session")
def good() -> str:
    """Return a file with nothing wrong."""
    return GOOD


@pytest.fixture
def problem_with(good: str, problems_of: Problems) -> Callable[[str, str], str]:
    """Return a function that replaces a piece of the good file and gives the one problem then."""

    def problem(old: str, new: str) -> str:
        assert good.count(old) == 1
        (found,) = problems_of(good.replace(old, new))
        return found

    return problem
