# SPDX-License-Identifier: GPL-2.0-only
"""The pool's YAML file: what may stand in it, and everything that is wrong with it, located.

A leaf that everybody may read; nothing here knows of pools, hosts or libvirt. Importing it does not
import Buildbot.
"""

from __future__ import annotations

from latent_libvirt.config.destinations import DestinationConfig
from latent_libvirt.config.load import load
from latent_libvirt.config.models import DefaultsConfig, PoolConfig
from latent_libvirt.config.problems import InvalidConfiguration, Problem
from latent_libvirt.config.sections.host import HostConfig
from latent_libvirt.config.sections.image import ImageConfig
from latent_libvirt.config.sections.label import LabelConfig
from latent_libvirt.config.sections.master import MasterConfig
from latent_libvirt.config.sections.network import NetworkConfig
from latent_libvirt.config.sections.spares import SparesConfig

__all__ = [
    "DefaultsConfig",
    "DestinationConfig",
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
]
