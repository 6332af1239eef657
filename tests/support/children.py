# SPDX-License-Identifier: GPL-2.0-only
"""Processes that tests start, none of which outlives the process of the tests, whatever ends that.

Fixtures end them in good order. But Ctrl-C ends ``make test`` within a second, xdist ends a worker
that does not end on its own, and then no fixture comes to its end.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

WITH_US: Final = ("setpriv", "--pdeathsig", "KILL")
"""What to put before a command. What enters another user namespace has to come before it: to get
new capabilities forgets the signal."""

Child = TypeVar("Child")

_PARENT: Final = ThreadPoolExecutor(1, "parent of children")
# Its thread starts now: Ctrl-C while a thread starts would leave one that nobody ends.
_PARENT.submit(bool).result()


def begun(start: Callable[[], Child], keep: Callable[[Child], object] | None = None) -> Child:
    """Return the process that *start* starts, with :data:`WITH_US` before its command.

    Such a process is killed when the thread that started it ends. A test may start masters in a
    thread that ends earlier than they should; this one ends with the process.

    :param keep: receives the process even if Ctrl-C comes before this returns.
    """

    def begin() -> Child:
        child = start()
        if keep is not None:
            keep(child)
        return child

    try:
        return _PARENT.submit(begin).result()
    except BaseException:
        _PARENT.submit(bool).result()  # comes after what was asked for before, if that was
        raise
