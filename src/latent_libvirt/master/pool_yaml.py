# SPDX-License-Identifier: GPL-2.0-only
"""Problems of a pool's YAML file, reported like those of ``master.cfg``: without a traceback."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING

from buildbot.config.errors import ConfigErrors

from latent_libvirt.config.load import load
from latent_libvirt.config.problems import InvalidConfiguration

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig


def load_for_buildbot(path: str | os.PathLike[str]) -> PoolConfig:
    """Return what a pool's YAML file says, when called from a ``master.cfg``.

    :param path: relative paths start at the working directory, which is the master's base
        directory; for a ``buildbot checkconfig`` from elsewhere, also there.
    :raises ConfigErrors: with one error for each problem. ``buildbot checkconfig`` lists them, a
        master does not start, and a reconfig keeps what is running.
    """
    try:
        return load(from_base_directory(path))
    except InvalidConfiguration as error:
        raise ConfigErrors(error.lines()) from None


def from_base_directory(path: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """Return *path* as it is if that leads to a file, else as the master.cfg would mean it."""
    if os.path.lexists(path):
        return path
    places = (directory / path for directory in _base_directories())
    return next((place for place in places if place.exists()), path)


def _base_directories() -> list[Path]:
    """Return where the ``master.cfg`` that is being executed belongs, and where it stands.

    Buildbot gives it both names (``loadConfigDict`` in ``buildbot/config/master.py``), but only
    ``buildbot start`` changes the working directory.
    """
    frame = inspect.currentframe()
    while frame is not None:
        names = frame.f_globals
        if "basedir" in names and "__file__" in names and "__name__" not in names:
            return [Path(names["basedir"]), Path(names["__file__"]).parent]
        frame = frame.f_back
    return []
