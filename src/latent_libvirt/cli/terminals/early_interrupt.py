# SPDX-License-Identifier: GPL-2.0-only
"""Interrupts before a command begins: Ctrl-C ends the process at once, without a traceback.

This module is imported before all that takes its time. Until :func:`is_over` is called, there is
nothing to undo.
"""

from __future__ import annotations

import signal
import threading


def _begin() -> bool:
    """Let the system handle Ctrl-C, unless somebody else does; return whether it does."""
    is_ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if is_ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    return is_ours


_IS_OURS = _begin()


def is_over() -> None:
    """Let Python handle Ctrl-C again, as it did before."""
    if _IS_OURS:
        signal.signal(signal.SIGINT, signal.default_int_handler)
