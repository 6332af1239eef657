# SPDX-License-Identifier: GPL-2.0-only
"""How much a host may give out to its VMs: what it has, times how far that is overcommitted.

Who has been given how much is in ``capacity.py``.
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
