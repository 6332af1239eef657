# SPDX-License-Identifier: GPL-2.0-only
"""Shelves of spares for tests of pure logic, where no VM runs."""

from __future__ import annotations

from collections.abc import Collection

from latent_libvirt.pool.vm import VM


class EmptyShelf:
    """There are no spares."""

    def has(self, label: str) -> bool:
        return False

    def claim(self, label: str, avoid: Collection[str]) -> VM | None:
        return None

    def put_back(self, vm: VM) -> None:
        raise AssertionError("nothing was claimed")
