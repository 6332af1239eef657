# SPDX-License-Identifier: GPL-2.0-only
"""Problems of a pool's YAML file as Buildbot tells those of ``master.cfg``: without a traceback."""

from __future__ import annotations

import os

from buildbot.config.errors import ConfigErrors

from latent_libvirt.config.load import load
from latent_libvirt.config.models import PoolConfig
from latent_libvirt.config.problems import InvalidConfiguration


def load_for_buildbot(path: str | os.PathLike[str]) -> PoolConfig:
    """Return what a pool's YAML file says, when called from a ``master.cfg``.

    :raises ConfigErrors: with one error for each problem. ``buildbot checkconfig`` lists them, a
        master does not start, and a reconfig keeps what is running.
    """
    try:
        return load(path)
    except InvalidConfiguration as error:
        raise ConfigErrors([str(problem) for problem in error.problems]) from None
