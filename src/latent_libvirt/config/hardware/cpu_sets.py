# SPDX-License-Identifier: GPL-2.0-only
"""Sets of a host's CPUs, as libvirt writes them: `2-5,8`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

MOST_CPUS: Final = 4096
_SET: Final = re.compile(r"[0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{1,4}(-[0-9]{1,4})?)*")


def is_one(text: str) -> bool:
    """Whether *text*, which anybody may have written, is a set of CPUs."""
    return _SET.fullmatch(text) is not None


def cpus(text: str) -> tuple[int, ...]:
    """Return the numbers in a set of CPUs, each once, in their order."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(found))


def as_text(numbers: Iterable[int]) -> str:
    """Return a set of CPUs as libvirt reads it."""
    return ",".join(map(str, sorted(set(numbers))))
