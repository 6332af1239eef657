# SPDX-License-Identifier: GPL-2.0-only
"""Amounts: what VMs take of a host, and what the host has left."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """What one VM takes of its host, or several together.

    :param memory: in bytes.
    """

    vcpus: int = 0
    memory: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(self.vcpus + other.vcpus, self.memory + other.memory)

    def __sub__(self, other: Size) -> Size:
        return Size(self.vcpus - other.vcpus, self.memory - other.memory)


@dataclass(frozen=True)
class Left:
    """What a host has left to give out; less than nothing if it has given too much.

    :param memory: in bytes.
    """

    slots: int
    vcpus: float = math.inf
    memory: float = math.inf

    def fits(self, size: Size) -> bool:
        """Whether there is room for a VM of *size*, which may be nothing."""
        return self.slots > 0 and self.vcpus >= size.vcpus and self.memory >= size.memory

    def room_for(self, size: Size) -> int:
        """Return how many VMs of *size*, which is not nothing, there is room for."""
        return math.floor(min(self.slots, self.vcpus / size.vcpus, self.memory / size.memory))
