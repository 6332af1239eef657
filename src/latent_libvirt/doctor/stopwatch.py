# SPDX-License-Identifier: GPL-2.0-only
"""Stopwatch for steps of a check."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass
class Stopwatch:
    """Stopwatch: measures how long something took."""

    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self.began
