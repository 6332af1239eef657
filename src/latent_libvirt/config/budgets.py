# SPDX-License-Identifier: GPL-2.0-only
"""Budget of a host: what it may give out to its VMs, its resources times their overcommit.

``pool/room/allocations.py`` counts what is given out.
"""

from __future__ import annotations

from fractions import Fraction

LEAST_OVERCOMMIT = 0.1
MOST_OVERCOMMIT = 100.0


def budget(amount: int, overcommit: float) -> int:
    """Return what may be given out of *amount*, in whole units.

    Exact for the decimal number that a file says: in binary, 100 times 0.29 is less than 29.
    """
    return int(amount * Fraction(str(overcommit)))
