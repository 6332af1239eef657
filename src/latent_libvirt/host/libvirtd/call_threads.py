# SPDX-License-Identifier: GPL-2.0-only
"""The threads in which one connection to libvirt is used, and the calls under way in them.

A libvirt call cannot be interrupted, and may not return for as long as its host says nothing: then
its thread is given up with it. What is called, and when a connection is lost, is not decided here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from latent_libvirt.host.libvirtd.one_thread import OneThread

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


class Calls:
    """Calls under way, from :meth:`start` to :meth:`give_up`.

    :param name: of the threads, as a debugger shows it.
    :param threads: how many calls may be under way at once. With one, they are made in order.
    """

    def __init__(self, name: str, *, reactor: Any, threads: int = THREADS) -> None:
        self._threads: _ThreadPool | OneThread = (
            OneThread(name)
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
