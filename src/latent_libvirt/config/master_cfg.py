# SPDX-License-Identifier: GPL-2.0-only
"""Problems of a pool's YAML file as Buildbot tells those of ``master.cfg``: without a traceback."""

from __future__ import annotations

import inspect
import os
from pathlib import Path

from buildbot.config.errors import ConfigErrors

from latent_libvirt.config.load import load
from latent_libvirt.config.models import PoolConfig
from latent_libvirt.config.problems import InvalidConfiguration


def load_for_buildbot(path: str | os.PathLike[str]) -> PoolConfig:
    """Return what a pool's YAML file says, when called from a ``master.cfg``.

    :param path: relative paths start at the master's base directory, also for a ``buildbot
        checkconfig`` from elsewhere.
    :raises ConfigErrors: with one error for each problem. ``buildbot checkconfig`` lists them, a
        master does not start, and a reconfig keeps what is running.
    """
    try:
        return load(_from_base_directory(path))
    except InvalidConfiguration as error:
        raise ConfigErrors([str(problem) for problem in error.problems]) from None


def _from_base_directory(path: str | os.PathLike[str]) -> str | os.PathLike[str]:
    base = _base_directory()
    if base is None or base.resolve() == Path.cwd():
        return path
    return base / path


def _base_directory() -> Path | None:
    """Return the ``basedir`` of the ``master.cfg`` that is being executed.

    Buildbot gives a ``master.cfg`` that name (``loadConfigDict`` in ``buildbot/config/master.py``);
    only ``buildbot start`` makes it the working directory.
    """
    frame = inspect.currentframe()
    while frame is not None:
        base = frame.f_globals.get("basedir")
        if isinstance(base, str) and "__name__" not in frame.f_globals:
            return Path(base)
        frame = frame.f_back
    return None
