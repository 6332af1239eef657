# SPDX-License-Identifier: GPL-2.0-only
"""The clock of a run: the time of day when it begins, and from there on a clock that nobody sets.

Times of all processes are in one report, so they are times of day. A deadline or a duration must
not depend on somebody who sets the clock.
"""

from __future__ import annotations

import time
from typing import Final

_AHEAD: Final = time.time() - time.monotonic()


def now() -> float:
    """Return seconds since the epoch."""
    return _AHEAD + time.monotonic()
