# SPDX-License-Identifier: GPL-2.0-only
"""Numbers of interface masters: how many a load needs, and what each number carries.

Each interface master learns of all builds, also of those that others run. So the gain of another
one shrinks, and there is a load that no number of them carries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from latent_libvirt.stress.sizing.resources import Cores

MOST: Final = 1000
"""Bounds the search."""

LEAST_GAIN: Final = 1.02
"""A further master has to carry so much more, or it is of no use."""


def fewest(cores: Cores, busy: float) -> int | None:
    """Return the fewest masters, none of which is busier than that; ``None`` if there is none."""
    numbers = range(1, MOST + 1)
    return next((n for n in numbers if cores.of("interface", n) <= busy), None)


def most_useful(cores: Cores, busy: float) -> int:
    """Return the number of masters from which on another is of no use."""
    before = carried(cores, 1, busy)
    for number in range(2, MOST + 1):
        now = carried(cores, number, busy)
        if now < before * LEAST_GAIN:
            return number - 1
        before = now
    return MOST


def carried(cores: Cores, number: int, busy: float) -> float:
    """Return how many times the load so many masters carry."""
    return cores.as_resource("interface", number, limit=busy).carries
