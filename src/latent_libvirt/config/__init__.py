# SPDX-License-Identifier: GPL-2.0-only
"""The pool's YAML file: what may stand in it, and everything that is wrong with it, located.

A leaf that everybody may read; nothing here knows of pools, hosts or libvirt. Importing it does not
import Buildbot.
"""

from __future__ import annotations

import os

from latent_libvirt.config.load import load
from latent_libvirt.config.models import (
    HostConfig,
    ImageConfig,
    LabelConfig,
    MasterConfig,
    NetworkConfig,
    PoolConfig,
    SparesConfig,
)
from latent_libvirt.config.problems import InvalidConfiguration, Problem

__all__ = [
    "HostConfig",
    "ImageConfig",
    "InvalidConfiguration",
    "LabelConfig",
    "MasterConfig",
    "NetworkConfig",
    "PoolConfig",
    "Problem",
    "SparesConfig",
    "load",
    "load_for_buildbot",
]


def load_for_buildbot(path: str | os.PathLike[str]) -> PoolConfig:
    """Return what a pool's YAML file says; see :mod:`latent_libvirt.config.master_cfg`.

    :raises ConfigErrors: with one error for each problem.
    """
    from latent_libvirt.config import master_cfg  # noqa: PLC0415 - Buildbot is slow to import

    return master_cfg.load_for_buildbot(path)
