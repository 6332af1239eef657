# SPDX-License-Identifier: GPL-2.0-only
"""Reports of leases, as lines of JSON: how each VM came up, and the seconds of each phase."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from latent_libvirt.stress import clock


def writer(path: Path) -> Callable[[Any], None]:
    """Return an observer for ``Pool.add_observer``."""
    file = path.open("a", buffering=1)

    def write(report: Any) -> None:
        file.write(json.dumps({"at": clock.now(), **asdict(report)}) + "\n")

    return write
