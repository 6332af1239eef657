# SPDX-License-Identifier: GPL-2.0-only
"""Interrupts before a command begins: Ctrl-C ends the process at once, without a traceback.

This module is imported before all that takes its time. Until :func:`is_over` is called, there is
nothing to undo. :func:`ended_at_once` is for what is imported later: Python would raise its
KeyboardInterrupt in the middle of a module, and some libraries lose it there. The same goes for the
signals that a command handles like Ctrl-C.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from latent_libvirt.process import interrupts

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_Handlers = dict[signal.Signals, Any]


def _begin() -> _Handlers:
    """Let the system handle the signals that Python or we handle; return how they were."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    handlers = {each: signal.getsignal(each) for each in _SIGNALS}
    ours = {each: handler for each, handler in handlers.items() if _is_ours(handler)}
    for each in ours:
        signal.signal(each, signal.SIG_DFL)
    return ours


def _is_ours(handler: Any) -> bool:
    is_of_the_command = getattr(handler, "__module__", None) == interrupts.__name__
    return handler is signal.default_int_handler or is_of_the_command


def _end(handlers: _Handlers) -> None:
    for each, handler in handlers.items():
        signal.signal(each, handler)


_HANDLERS: Final = _begin()


def is_over() -> None:
    """Let Python handle Ctrl-C again, as it did before."""
    _end(_HANDLERS)


@contextmanager
def ended_at_once() -> Iterator[None]:
    """Let a signal end the process at once for the length of a ``with`` block that only imports."""
    handlers = _begin()
    try:
        yield
    finally:
        _end(handlers)
