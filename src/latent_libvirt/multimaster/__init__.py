# SPDX-License-Identifier: GPL-2.0-only
"""Several Buildbot masters that survive each other: what their ``master.cfg`` needs.

``docs/explanation/several-masters.md`` says which masters there are, and what happens when one of
them, the database or the router is gone.
"""

from __future__ import annotations

from latent_libvirt.multimaster.master_cfg import (
    interface_master,
    scheduler_master,
)
from latent_libvirt.multimaster.settings import Common

__all__ = ["Common", "interface_master", "scheduler_master"]
