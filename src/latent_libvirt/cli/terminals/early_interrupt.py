# SPDX-License-Identifier: GPL-2.0-only
"""Interrupts before a command begins: Ctrl-C ends the process at once, without a traceback.

This module is imported before all that takes its time. Until :func:`is_over` is called, there is
nothing to undo. :func:`ended_at_once` is for what is imported later: Python would raise its
KeyboardInterrupt in the middle of a module, and some libraries lose it there.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


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


@contextmanager
def ended_at_once() -> Iterator[None]:
    """Let Ctrl-C end the process at once for the length of a ``with`` block that only imports."""
    is_ours = _begin()
    try:
        yield
    finally:
        if is_ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
