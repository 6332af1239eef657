# SPDX-License-Identifier: GPL-2.0-only
"""The bound on what a log may put into the master's database: a step may print without end.

Buildbot 4.3 accepts ``c["logMaxSize"]`` and does not look at it. Here it counts, for all logs of a
master with a pool, and there is one where the master.cfg sets none. It counts for output that a
step collects in memory, too (``SetPropertyFromCommand``); and who writes to logs that a step does
not have leaves nothing behind.
"""

from __future__ import annotations

from functools import wraps
from typing import Any, Final

from buildbot.process.log import Log
from buildbot.process.remotecommand import RemoteCommand
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

DEFAULT: Final = 50 * 1024 * 1024
"""Bytes of one log; 5 to 17 s of a step that does nothing but print."""

_STREAMS: Final = ("stdout", "stderr", "header")


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


class TooMuchOutputError(Exception):
    """A command has said more than its step may keep in memory."""


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
