# SPDX-License-Identifier: GPL-2.0-only
"""The bound on what a log may put into the master's database: a step may print without end.

Buildbot 4.3 accepts ``c["logMaxSize"]`` and does not look at it. Here it counts, for all logs of a
master with a pool, and there is one where the master.cfg sets none. It counts for output that a
step collects in memory, too (``SetPropertyFromCommand``); and who writes to logs that a step does
not have leaves nothing behind.

Buildbot also keeps all updates of a command that it has no use for: each line of a step's log
files, and whatever a guest calls by a name that no step reads. Here the lines are not kept, and the
rest has the same bound. What waits to be written to the database waits in memory: a guest that is
quicker than the database is not read for a while.
"""

from __future__ import annotations

from datetime import date, time, timedelta
from functools import wraps
from typing import Any, Final

from buildbot.process.log import Log
from buildbot.process.remotecommand import RemoteCommand
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from latent_libvirt.master.workers.port.broker import wait_for

DEFAULT: Final = 50 * 1024 * 1024
"""Bytes of one log; 5 to 17 s of a step that does nothing but print."""

_STREAMS: Final = ("stdout", "stderr", "header")

_WRITTEN: Final = (*_STREAMS, "log", "rc")
"""Updates that are written to a log; an exit code is a line of it."""

_ITEM: Final = 64
"""Bytes that Python needs for a value, besides those of its text."""

_NAME: Final = 200
"""Bytes that Python needs for a name of results: its list, and its entry."""

_PLAIN: Final = (str, bytes, int, float, date, time, timedelta, type(None))
"""Types of values that say all they have, besides collections of them."""


def install() -> None:
    """Bound the logs of this process, once."""
    if getattr(Log, "_latent_libvirt", False):
        return
    Log._latent_libvirt = True  # noqa: SLF001 - ours
    original = Log.addRawLines

    @wraps(original)
    def bounded(self: Any, lines: str) -> Deferred[None]:
        kept = _keep(self, lines)
        # Thousands of updates may wait for this one: at once, each would end within the one before,
        # until Python has no stack left, and the step would never end.
        return original(self, kept) if kept else deferLater(self.master.reactor, 0)

    Log.addRawLines = bounded
    RemoteCommand.add_stdout_lines = _collected_within(RemoteCommand.add_stdout_lines, "stdout")
    RemoteCommand.add_stderr_lines = _collected_within(RemoteCommand.add_stderr_lines, "stderr")
    RemoteCommand.split_line = _of_known_logs(RemoteCommand.split_line)
    RemoteCommand.remoteUpdate = _taken_within(RemoteCommand.remoteUpdate)


class TooMuchOutputError(Exception):
    """A command has said more than its step may keep in memory."""


class NonsenseError(Exception):
    """A guest says what no worker says."""


def _collected_within(original: Any, stream: str) -> Any:
    collects = f"collect{stream.capitalize()}"

    @wraps(original)
    def add_lines(self: Any, data: str, is_flushed: bool) -> Any:  # noqa: FBT001 - Buildbot's
        bound = most(self.worker.master)
        if getattr(self, collects) and len(getattr(self, stream)) + len(data) > bound:
            setattr(self, collects, False)
            why = f"the step collects more than {bound:,} bytes of {stream} (logMaxSize)"
            error = Failure(TooMuchOutputError(why))  # type: ignore[no-untyped-call]
            self._finished(error)
        return original(self, data, is_flushed)

    return add_lines


def _taken_within(original: Any) -> Any:
    @wraps(original)
    def take(self: Any, key: Any, value: Any, is_flushed: bool) -> Deferred[None]:  # noqa: FBT001
        _check(key, value)
        size = _size(value)
        if key not in _WRITTEN:
            _keep_result(self, size + _size(key) + (0 if key in self.updates else _NAME))
        taken: Deferred[None] = original(self, key, value, is_flushed)
        if key in _WRITTEN:
            taken.addBoth(_forget_lines, self)
            wait_for(self.conn, taken, size)
        return taken

    return take


def _keep_result(command: Any, size: int) -> None:
    """Count what a command keeps until it ends.

    :raises TooMuchOutputError: it is too much.
    """
    bound = most(command.worker.master)
    kept = command._latent_libvirt_kept = getattr(command, "_latent_libvirt_kept", 0) + size  # noqa: SLF001
    if kept > bound:
        why = f"the worker has sent more than {bound:,} bytes of results (logMaxSize)"
        raise TooMuchOutputError(why)


def _check(key: Any, value: Any) -> None:
    """Refuse what Buildbot cannot compare or calculate with.

    :raises NonsenseError: in that case.
    """
    kinds: dict[Any, tuple[type, ...]] = {"rc": (int, type(None)), "elapsed": (int, float)}
    if not isinstance(value, kinds.get(key, (object,))):
        raise NonsenseError(f"the worker says that {key!r} is a {type(value).__name__}")


def _size(value: Any) -> int:
    """Return how many bytes *value* has, about as Python counts them.

    :raises NonsenseError: it has what no worker says, which might be of any size.
    """
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        return _ITEM + sum(map(_size, value))
    if not isinstance(value, _PLAIN):
        raise NonsenseError(f"the worker sends a {type(value).__name__} as a result")
    return _ITEM + (len(value) if isinstance(value, str | bytes) else 0)


def _forget_lines(taken: Any, command: Any) -> Any:
    """Keep no lines of log files: they are in their logs, and nobody reads them here."""
    command.updates.pop("log", None)
    return taken


def _of_known_logs(original: Any) -> Any:
    """Split no lines of logs that are not there: Buildbot keeps something of each for good."""

    @wraps(original)
    def split_line(self: Any, stream: str, text: str) -> Any:
        known = stream in _STREAMS or stream in self.logs or stream in self.delayedLogs
        return original(self, stream, text) if known else None

    return split_line


def _keep(log: Any, lines: str) -> str:
    """Return as much of *lines* as the log may have, and once a word about the rest."""
    room = most(log.master) - getattr(log, "_latent_libvirt_size", 0)
    if room <= 0:
        return ""
    size = len(lines.encode(errors="replace"))
    log._latent_libvirt_size = most(log.master) - room + size  # noqa: SLF001 - ours
    if size < room:
        return lines
    whole, _, _ = lines[:room].rpartition("\n")
    header = "h" if log.type == "s" else ""
    word = f"{header}(this log has {most(log.master):,} bytes, logMaxSize: the rest is left out)\n"
    return f"{whole}\n{word}" if whole else word


def most(master: Any) -> int:
    """Return how many bytes a log of *master* may have."""
    return master.config.logMaxSize or DEFAULT
