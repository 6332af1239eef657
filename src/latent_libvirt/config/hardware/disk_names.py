# SPDX-License-Identifier: GPL-2.0-only
"""Names that libvirt has for the disks of a VM."""

from __future__ import annotations

from typing import Final

MOST_DISKS: Final = 16
"""How many disks a VM may have beside the first one."""


def target(number: int) -> str:
    """Return libvirt's name of a disk: 0 is the first one, and 1 that after the seed."""
    return f"vd{chr(ord('b') + number)}" if number else "vda"


def targets(disks: object) -> tuple[str, ...]:
    """Return the names of as many disks as *disks*, of the file, has."""
    count = len(disks) if isinstance(disks, list | tuple) else 0
    return tuple(target(number) for number in range(1, min(count, MOST_DISKS) + 1))
