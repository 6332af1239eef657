# SPDX-License-Identifier: GPL-2.0-only
"""The threads in which one connection to libvirt is used, and the calls under way in them.

A libvirt call cannot be interrupted, and may not return for as long as its host says nothing: then
its thread is given up with it. What is called, and when a connection is lost, is not decided here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, Final, ParamSpec, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

log = Logger()

P = ParamSpec("P")
T = TypeVar("T")

THREADS: Final = 8
"""How many calls may be under way at once; more wait."""


class _DaemonThread(threading.Thread):
    """A thread that a hung libvirt call cannot make the process wait for at its end."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(daemon=True, **kwargs)


class _ThreadPool(ThreadPool):
    threadFactory: type[threading.Thread] = _DaemonThread


class _OneThread:
    """One thread, for those who ask a thread pool of Twisted's.

    A channel's worker waits for each write. With such a pool, that takes 56 us until it is done in
    its thread, and 14 us with this.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread: _DaemonThread | None = None

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
            thread = _DaemonThread(target=self._run, name=self._name)
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


class Calls:
    """Calls under way, from :meth:`start` to :meth:`give_up`.

    :param name: of the threads, as a debugger shows it.
    :param threads: how many calls may be under way at once. With one, they are made in order.
    """

    def __init__(self, name: str, *, reactor: Any, threads: int = THREADS) -> None:
        self._threads: _ThreadPool | _OneThread = (
            _OneThread(name)
            if threads == 1
            else _ThreadPool(minthreads=0, maxthreads=threads, name=name)
        )
        self._one_aside = _ThreadPool(minthreads=0, maxthreads=1, name=f"{name}, aside")
        self._reactor = reactor
        self._under_way: set[Deferred[Any]] = set()
        self.given_up = False

    def start(self) -> None:
        """Accept calls."""
        self._threads.start()
        self._one_aside.start()

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Call *function* in a thread; the Deferred is cancelled if the calls are given up."""

        def unless_given_up() -> T:
            if self.given_up:
                raise CancelledError  # it has waited for a thread for too long
            return function(*args, **kwargs)

        threads: Any = self._threads  # Twisted asks for a pool, and asks no more of it than we have
        call = deferToThreadPool(self._reactor, threads, unless_given_up)
        self._under_way.add(call)
        return call.addBoth(self._ended, call)

    def run_unheard(self, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call *function* in a thread, unless the calls are given up. It says what it has to say.

        That saves the reactor a turn for each call.
        """

        def unless_given_up() -> None:
            if not self.given_up:
                function(*args, **kwargs)

        self._threads.callInThread(unless_given_up)

    def run_aside(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Call *function* in a thread, at once even if all others are busy."""
        return deferToThreadPool(self._reactor, self._one_aside, function, *args, **kwargs)

    def _ended(self, result: T, call: Deferred[Any]) -> T:
        self._under_way.discard(call)
        return result

    def give_up(self, finally_: Callable[[], object] = lambda: None) -> None:
        """Wait for no call any more: each of them is cancelled.

        :param finally_: called in a thread when the last of them has returned, which may be never.
        """
        if self.given_up:
            return
        self.given_up = True
        for call in tuple(self._under_way):
            call.cancel()
        threading.Thread(target=self._join, args=(finally_,), daemon=True).start()

    def _join(self, finally_: Callable[[], object]) -> None:
        self._threads.stop()
        self._one_aside.stop()
        finally_()


def side_by_side(one: Callable[[], object], other: Callable[[], object]) -> None:
    """Do both at the same time, which takes one round trip if each takes one. Blocks.

    Each has ended when this returns. What *one* raises comes before what *other* raises.
    """
    errors: list[BaseException] = []

    def do_other() -> None:
        try:
            other()
        except BaseException as error:  # noqa: BLE001 - it is raised below
            errors.append(error)

    thread = _DaemonThread(target=do_other, name="side by side")
    thread.start()
    try:
        one()
    finally:
        thread.join()
    for error in errors:
        raise error
