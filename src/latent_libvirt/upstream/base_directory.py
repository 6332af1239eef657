# SPDX-License-Identifier: GPL-2.0-only
"""The base directory of a master, from where a ``master.cfg`` names files."""

from __future__ import annotations

import inspect
import os
from pathlib import Path


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
