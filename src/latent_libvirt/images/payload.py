# SPDX-License-Identifier: GPL-2.0-only
"""Payload of an import: the files that an image of another maker gets.

The files are in the directory ``images/import`` of the source tree. One set of them suits all
distributions.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from latent_libvirt.images import recipes
from latent_libvirt.images.wheels import Wheels, unpack

OLDEST_PYTHON: Final = "3.8"
"""The packages of the worker are chosen for this version of Python, and run on newer ones."""

_PLATFORMS: Final = ("manylinux2014_x86_64",)


def source() -> Path:
    """Return the directory with the files."""
    return recipes.root() / "import"


def bring_worker(cache: Path, target: Path) -> None:
    """Unpack the worker's Python packages to *target*.

    :param cache: keeps the wheels from import to import.
    :raises BuildError: they cannot be downloaded, or are not what is pinned.
    """
    wanted = Wheels(source() / "requirements.txt", python=OLDEST_PYTHON, platforms=_PLATFORMS)
    with tempfile.TemporaryDirectory(dir=target.parent) as wheels:
        unpack(wanted.bring(cache, into=Path(wheels)), target)
