# SPDX-License-Identifier: GPL-2.0-only
"""The end of something that is under way, for any number of waiters.

A wait can be cancelled, as when somebody stops a build; what is waited for goes on. (Cancelling a
Deferred that others wait for too, or a coroutine in the middle of a tear-down, would not do that.)
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


class Outcome:
    """What becomes of *work*, which begins at once."""

    def __init__(self, work: Coroutine[Any, Any, None]) -> None:
        self._waiters: list[Deferred[None]] = []
        self._over = False
        self._failure: Failure | None = None
        Deferred.fromCoroutine(work).addCallbacks(self._done, self._failed)

    @property
    def over(self) -> bool:
        """Whether it has ended, well or not."""
        return self._over

    def wait(self) -> Deferred[None]:
        """Return a Deferred that fires at the end, with the error if there was one."""
        waiter: Deferred[None] = Deferred()
        if self._over:
            self._tell(waiter)
        else:
            self._waiters.append(waiter)
        return waiter

    def _done(self, _result: object) -> None:
        self._over = True
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            self._tell(waiter)

    def _failed(self, failure: Failure) -> None:
        self._failure = failure
        self._done(None)

    def _tell(self, waiter: Deferred[None]) -> None:
        if waiter.called:  # cancelled
            return
        if self._failure is None:
            waiter.callback(None)
        else:
            waiter.errback(self._failure)
