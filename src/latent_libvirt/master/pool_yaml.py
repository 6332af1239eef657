# SPDX-License-Identifier: GPL-2.0-only
"""Problems of a pool's YAML file, reported like those of ``master.cfg``: without a traceback."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from buildbot.config.errors import ConfigErrors

from latent_libvirt.config.load import load
from latent_libvirt.config.problems import InvalidConfiguration
from latent_libvirt.upstream.base_directory import from_base_directory

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
