# SPDX-License-Identifier: GPL-2.0-only
"""Work that is under way: in the background, repeated, or with any number of waiters.

A wait can be cancelled, as when somebody stops a build; what is waited for goes on. (Cancelling a
Deferred that others wait for too, or a coroutine in the middle of a tear-down, would not do that.)
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

log = Logger()


def in_background(work: Deferred[Any] | Coroutine[Any, Any, Any], what: str) -> Deferred[Any]:
    """Let *work* go on; an error is logged, and its Deferred fires without one.

    :param what: what it is, or that it failed, for the log.
    """
    deferred = work if isinstance(work, Deferred) else Deferred.fromCoroutine(work)
    return deferred.addErrback(lambda failure: log.failure("{what}", failure, what=what))


def repeat(
    work: Callable[[], Any], *, every: float, what: str, reactor: Any, now: bool = False
) -> LoopingCall:
    """Do *work* again and again, also after an error, which is logged.

    :param every: seconds.
    :param what: what it is, or that it failed, for the log.
    :param now: whether to begin at once.
    """

    def once() -> Any:
        return in_background(maybeDeferred(work), what)

    loop = LoopingCall(once)
    loop.clock = reactor
    in_background(loop.start(every, now=now), what)
    return loop


def cancelled_at_shutdown(work: Deferred[Any], reactor: Any) -> None:
    """Let the reactor stop only when *work* has ended: Ctrl-C, which stops it, cancels that."""
    over: Deferred[None] = Deferred()

    def stop() -> Deferred[None]:
        work.cancel()
        return over

    def ended(result: Any) -> Any:
        over.callback(None)
        return result

    reactor.addSystemEventTrigger("before", "shutdown", stop)
    work.addBoth(ended)


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
