# SPDX-License-Identifier: GPL-2.0-only
"""Panics of the guest's kernel, which end its VM."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

_TIMEOUT: Final = Path("/proc/sys/kernel/panic")
_NEVER: Final = "0"
_SECONDS: Final = "1"
"""After which the machine is reset, which ends its VM. The kernel's words have left it by then."""


def end_at_panic(timeout: Path = _TIMEOUT) -> None:
    """Have a panic end the VM, unless the image says what a panic does.

    A kernel would stand still for ever, and its build with it.
    """
    with contextlib.suppress(OSError):
        if timeout.read_text().strip() == _NEVER:
            timeout.write_text(_SECONDS)
