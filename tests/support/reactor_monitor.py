# SPDX-License-Identifier: GPL-2.0-only
"""How long each thing that the reactor does holds it up, and in whose code that time goes.

What is measured is the CPU time of the reactor's thread, not time by the clock: on a busy machine
the kernel takes the processor away, and other threads take Python's lock, for longer than any limit
that could be tested, and neither is the doing of the code that is watched. What waits costs no CPU;
so calls that may wait (libvirt's, files, sockets, sleep) are told of whatever time they take.

Python's collector of cyclic garbage now and then goes through all objects of the process, which are
those of the test run above all: what there is before is kept out of that. What the watched code
makes is not.

A second thread looks at the reactor's stack every millisecond, to say where the time went.
"""

from __future__ import annotations

import functools
import gc
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import libvirt
import pytest

_INTERVAL = 0.001
_KEPT = 5
_MAY_WAIT = ("open", "socket.", "subprocess.", "os.", "shutil.", "sqlite3.")
"""Python's audit events of calls that may wait for something ("Audit events table")."""

_LIBVIRT = (
    *(libvirt.virConnect, libvirt.virDomain, libvirt.virStream),
    *(libvirt.virStoragePool, libvirt.virStorageVol, libvirt.virNetwork),
)


@dataclass(order=True, frozen=True)
class Held:
    """One thing that the reactor did.

    :param seconds: of CPU.
    :param what: what was called, and where in the watched package the time went.
    """

    seconds: float
    what: str

    def __str__(self) -> str:
        return f"{self.seconds * 1000:.1f} ms: {self.what}"


@dataclass
class Monitor:
    """What was seen.

    :param count: how many things the reactor did.
    :param slowest: the slowest few, slowest first.
    :param may_wait: calls of the watched package, on the reactor's thread, that may wait.
    """

    count: int = 0
    total: float = 0.0
    slowest: list[Held] = field(default_factory=list)
    may_wait: set[str] = field(default_factory=set)

    @property
    def longest(self) -> float:
        """Seconds of CPU that the slowest of all calls took."""
        return self.slowest[0].seconds

    def report(self) -> str:
        """Return all that in words."""
        lines = [f"{self.count} calls, {self.total:.2f} s of CPU in all; the slowest:"]
        return "\n  ".join([*lines, *map(str, self.slowest)])

    def note(self, seconds: float, what: Callable[[], str]) -> None:
        """Record one call."""
        self.count += 1
        self.total += seconds
        if len(self.slowest) < _KEPT or seconds > self.slowest[-1].seconds:
            self.slowest = sorted([*self.slowest, Held(seconds, what())], reverse=True)[:_KEPT]


class _Looks:
    """Where the reactor's thread stood, in the package that is watched, during one call."""

    def __init__(self, package: str) -> None:
        self._package = package
        self._thread = threading.get_ident()
        self._places: Counter[str] = Counter()
        self._stop = threading.Event()
        self._looker = threading.Thread(target=self._look, daemon=True)
        self._looker.start()

    def forget(self) -> None:
        """Begin a new call."""
        self._places = Counter()

    def most(self) -> str:
        """Return the place where the call was seen most."""
        return self._places.most_common(1)[0][0] if self._places else "somewhere too quick to see"

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._looker.join()

    def _look(self) -> None:
        while not self._stop.wait(_INTERVAL):
            place = _place(sys._current_frames().get(self._thread), self._package)
            if place is not None:
                self._places[place] += 1


def _place(frame: FrameType | None, package: str) -> str | None:
    """Return the innermost place in *package* that leads to *frame*; ``None`` if there is none."""
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.split(".", maxsplit=1)[0] == package:
            return f"{module}:{frame.f_lineno} {frame.f_code.co_qualname}"
        frame = frame.f_back
    return None


@contextmanager
def watching(reactor: Any, *, package: str) -> Iterator[Monitor]:
    """Measure all calls that are scheduled for the length of a ``with`` block.

    That is all that the reactor does but the reading and writing of sockets. To be called on the
    reactor's thread.

    :param package: whose code is watched for calls that may wait, and is named.
    """
    monitor, looks = Monitor(), _Looks(package)
    later, from_thread = reactor.callLater, reactor.callFromThread
    reactor.callLater = lambda delay, function, *a, **k: later(
        delay, _timed(function, monitor, looks), *a, **k
    )
    reactor.callFromThread = lambda function, *a, **k: from_thread(
        _timed(function, monitor, looks), *a, **k
    )
    try:
        with _own_garbage_only(), _listening_for_waits(monitor, package):
            yield monitor
    finally:
        reactor.callLater, reactor.callFromThread = later, from_thread
        looks.stop()


@contextmanager
def _own_garbage_only() -> Iterator[None]:
    """Let the collector look only at what is made from now on."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _timed(function: Callable[..., Any], monitor: Monitor, looks: _Looks) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        looks.forget()
        began = time.thread_time()
        try:
            return function(*args, **kwargs)
        finally:
            name = getattr(function, "__qualname__", repr(function))
            monitor.note(time.thread_time() - began, lambda: f"{name}, mostly in {looks.most()}")

    return call


@contextmanager
def _listening_for_waits(monitor: Monitor, package: str) -> Iterator[None]:
    thread = threading.get_ident()

    def note(what: str) -> None:
        if threading.get_ident() == thread:
            place = _place(sys._getframe(2), package)
            if place is not None:
                monitor.may_wait.add(f"{what} in {place}")

    _hook(note)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", _noted(time.sleep, "time.sleep", note))
        for kind in _LIBVIRT:
            for name, method in vars(kind).items():
                if callable(method) and not name.startswith("_"):
                    patch.setattr(kind, name, _noted(method, f"libvirt.{name}", note))
        try:
            yield
        finally:
            _hook(None)


def _noted(method: Any, name: str, note: Callable[[str], None]) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        note(name)
        return method(*args, **kwargs)

    return call


_listener: Callable[[str], None] | None = None


def _hook(listener: Callable[[str], None] | None) -> None:
    """Tell *listener* of calls that may wait; an audit hook stays for ever, so there is one."""
    global _listener  # noqa: PLW0603 - the hook can only be one of the process
    _listener = listener
    _install_hook()


@functools.cache
def _install_hook() -> None:
    sys.addaudithook(_audit)


def _audit(event: str, _args: tuple[Any, ...]) -> None:
    if _listener is not None and event.startswith(_MAY_WAIT):
        _listener(event)
