# SPDX-License-Identifier: GPL-2.0-only
"""Signals that end a command as Ctrl-C does: what it has begun is undone before it ends.

SIGTERM is what services and CI systems send, and SIGHUP comes when a terminal is closed. Their
default action would leave files, mounts and processes behind.
"""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final, Self

SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP)

_WITH_CTRL_C: Final = (signal.SIGINT, *SIGNALS)


class Interrupted(KeyboardInterrupt):
    """One of these signals has come. What cleans up after Ctrl-C does it after them, too."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def status_after(interrupt: KeyboardInterrupt) -> int:
    """Return the exit status of a command that was interrupted, as shells have it."""
    return 128 + (interrupt.number if isinstance(interrupt, Interrupted) else signal.SIGINT)


@contextmanager
def raised() -> Iterator[None]:
    """Raise :class:`Interrupted` for the first of the signals that comes in a ``with`` block.

    After it, and after Ctrl-C, they are ignored. CI systems send SIGINT and then SIGTERM, and that
    must not end the undoing. A second Ctrl-C does. If the block takes the interrupt for its usual
    end, it is raised after it, unless it was Ctrl-C.
    """
    came: list[int] = []

    def interrupt(number: int) -> None:
        came.append(number)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        if len(came) == 1:
            raise Interrupted(number)

    with _handled(interrupt):
        yield
    if came and came[0] != signal.SIGINT:
        raise Interrupted(came[0])


class ReactorStop:
    """Stop of a reactor by the signals, as by Ctrl-C, for the length of a ``with`` block.

    Raised in the midst of it, an exception would be logged, and forgotten. Twisted logs an error
    for the second Ctrl-C, and leaves its handlers where they are. After the block, Ctrl-C and the
    signals do what they did before.
    """

    def __init__(self) -> None:
        self._number: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._before = {each: signal.getsignal(each) for each in _WITH_CTRL_C}
        return self

    def __exit__(self, *_error: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)

    def of(self, reactor: Any) -> None:
        """Stop *reactor* by the signals from the moment that it runs."""

        def stop(number: int) -> None:
            if self._number is None:
                self._number = number
                reactor.callFromThread(reactor.stop)

        reactor.callWhenRunning(lambda: _handle(stop, _WITH_CTRL_C))  # Twisted has its by then

    @property
    def interrupt(self) -> KeyboardInterrupt:
        """What to raise when it was stopped."""
        if self._number is None or self._number == signal.SIGINT:
            return KeyboardInterrupt()
        return Interrupted(self._number)


def leave_terminal() -> None:
    """Send output nowhere if it goes to a terminal: writing to a closed one fails."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(descriptor).st_mode):
                os.dup2(nowhere, descriptor)
    os.close(nowhere)


@contextmanager
def _handled(act: Callable[[int], None]) -> Iterator[None]:
    before = {each: signal.getsignal(each) for each in _WITH_CTRL_C}
    has_own = before[signal.SIGINT] is not signal.default_int_handler
    ours = _handle(act, SIGNALS if has_own else _WITH_CTRL_C)
    try:
        yield
    finally:
        for each, handler in before.items():
            if signal.getsignal(each) is ours:  # else somebody inside wants it to stay theirs
                signal.signal(each, handler)


def _handle(
    act: Callable[[int], None], signals: Sequence[signal.Signals]
) -> Callable[[int, object], None]:
    """Handle the signals, except for those that are ignored (as by nohup); return the handler."""

    def handler(number: int, _frame: object) -> None:
        if number == signal.SIGHUP:
            leave_terminal()
        act(number)

    if threading.current_thread() is threading.main_thread():  # Python allows it there alone
        for each in signals:
            if signal.getsignal(each) not in (signal.SIG_IGN, None):
                signal.signal(each, handler)
    return handler
