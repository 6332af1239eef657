# SPDX-License-Identifier: GPL-2.0-only
"""How much memory a process has used: a guest that says too much must not cost the master any."""

from __future__ import annotations

from pathlib import Path

BOUND = 64 * 2**20
"""Bytes that a master may grow by under a flood: a job costs it some, a channel brings this much in
less than a second."""


def peak(pid: int) -> int:
    """Return the most bytes that the process has had in memory so far (proc(5): VmHWM)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = next(line for line in lines if line.startswith("VmHWM:"))
    return int(found.split()[1]) * 1024
