# SPDX-License-Identifier: GPL-2.0-only
"""A clean virtual machine for every Buildbot job.

What a ``master.cfg`` needs::

    from latent_libvirt import Pool, read_secret
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latent_libvirt.master.master_cfg import Pool
    from latent_libvirt.master.secret_file import read_secret

__all__ = ["Pool", "read_secret"]


def __getattr__(name: str) -> Any:
    """Import what is asked for, now: the command line must not wait for Buildbot's import."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(name)


_HOMES = {
    "Pool": "latent_libvirt.master.master_cfg",
    "read_secret": "latent_libvirt.master.secret_file",
}
