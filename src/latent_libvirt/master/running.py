# SPDX-License-Identifier: GPL-2.0-only
"""Running pools of this process, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latent_libvirt.master.service.pool_service import PoolService

running: dict[str, PoolService] = {}
"""The pools of this process that are running, by name: a reconfig must know what they are doing."""
