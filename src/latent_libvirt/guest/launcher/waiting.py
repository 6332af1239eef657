# SPDX-License-Identifier: GPL-2.0-only
"""Waiting: a condition is looked at again and again, until a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

POLL_INTERVAL: Final = 0.05


def poll_for(condition: Callable[[], Any], deadline: float) -> Any:
    """Return the first true result of *condition*, or its last one after *deadline* seconds."""
    end = time.monotonic() + deadline
    while not (result := condition()) and time.monotonic() < end:
        time.sleep(POLL_INTERVAL)
    return result
