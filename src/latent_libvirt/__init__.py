# SPDX-License-Identifier: GPL-2.0-only
"""A clean virtual machine for every Buildbot job.

What a ``master.cfg`` needs::

    from latent_libvirt import Pool
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latent_libvirt.master_cfg import Pool

__all__ = ["Pool"]


def __getattr__(name: str) -> Any:
    """Import ``Pool`` when asked for: the command line must not wait for Buildbot's import."""
    if name == "Pool":
        return importlib.import_module("latent_libvirt.master_cfg").Pool
    raise AttributeError(name)
