# SPDX-License-Identifier: GPL-2.0-only
"""What a host has, where something of it is broken."""

from __future__ import annotations

import shutil

from lab import STORAGE_POOL
from latent_libvirt.host import inventory
from latent_libvirt.sandbox import PrivateLibvirtd


def test_a_storage_pool_whose_directory_is_gone_hides_no_other(sandbox: PrivateLibvirtd) -> None:
    sandbox.define_storage_pool(STORAGE_POOL)
    sandbox.define_storage_pool("gone")
    shutil.rmtree(sandbox.directory / "storage" / "gone")

    found = inventory.take(sandbox.uri)

    pools = {pool.name: pool.available > 0 for pool in found.pools}
    assert pools == {STORAGE_POOL: True, "gone": False}
