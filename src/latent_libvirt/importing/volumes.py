# SPDX-License-Identifier: GPL-2.0-only
"""Volumes of an import: their names in the storage pool of its private libvirtd."""

from __future__ import annotations

from typing import Final

STORAGE_POOL: Final = "import"
SOURCE: Final = "source.qcow2"
"""The volume that is booted for the installation."""
RESULT: Final = "result.qcow2"
"""The volume that comes of it."""
