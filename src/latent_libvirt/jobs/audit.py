# SPDX-License-Identifier: GPL-2.0-only
"""The audit log of the job API: who asked for what, when, from where, and what came of it.

It has a line of JSON for each request that has a valid token or is refused. A line holds names and
numbers: no token, no property, no body. It is ASCII and bounded whatever a client sends. Lines are
written by a thread, since a disk may be slow; a disk that fails is reported in the master's
log, and fails no request.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from latent_libvirt.jobs import strict_json
from latent_libvirt.jobs.rate_limit import ClientLimit, RateLimit, client_of
from latent_libvirt.timers import passed

log = Logger()

LARGEST: Final = 10 * 2**20
"""Bytes after which a file is put aside."""

KEPT: Final = 10
"""Files that were put aside: ``.1`` is the newest."""

LONGEST: Final = 200
"""Characters of what a client wrote."""

MOST_WAITING: Final = 10_000
"""Lines that wait for the disk."""

LINES_A_MINUTE: Final = 600
"""Of one token. What starts or cancels a job always counts, so that nobody can push it out of the
log by being refused."""

OF_AN_ADDRESS: Final = 300
"""Lines a minute of requests without a token from one address. It cannot hide those of others."""

OF_ALL_ADDRESSES: Final = 3_000
"""Lines a minute of all requests without a token, some 0.7 MB."""

_CHANGED = (201, 202)
_REFUSED = 400
_FAILED = 500
_OWNER_ONLY = 0o600
_TIMEOUT = 5.0


class AuditLog:
    """Writes the lines of one master.

    :param path: the file; ``None`` writes none.
    """

    def __init__(self, path: Path | None, reactor: Any) -> None:
        self._path = path
        self._reactor = reactor
        clock = partial(passed, reactor)
        self._rate = RateLimit(LINES_A_MINUTE, clock)
        self._strangers = ClientLimit(OF_AN_ADDRESS, OF_ALL_ADDRESSES, clock)
        self._waiting: list[str] = []
        self._stood_for = 0  # by the lines that wait: requests, also those that they say have none
        self._writing: Deferred[None] | None = None
        self._idle: Deferred[None] | None = None
        self._left_out = 0
        self._has_failed = False

    def note(self, facts: dict[str, Any], status: int, problem: str | None) -> None:
        """Note a request; never fails.

        :param facts: ``from``, ``method``, and ``token``, ``job`` and ``builder`` as far as known.
        :param problem: the kind of problem in the answer.
        """
        token = facts.get("token")
        if self._path is None or (token is None and status < _REFUSED):
            return
        is_too_much = status not in _CHANGED and not self._has_room(facts)
        if is_too_much or len(self._waiting) >= MOST_WAITING:
            self._left_out += 1
            return
        self._waiting.append(line(facts, self._reactor.seconds(), status, problem, self._left_out))
        self._stood_for += 1 + self._left_out
        self._left_out = 0
        self._write()

    def _has_room(self, facts: dict[str, Any]) -> bool:
        if (token := facts.get("token")) is not None:
            return not self._rate.wait(token)
        return self._strangers.lets_through(client_of(str(facts.get("from"))))

    async def stop(self) -> None:
        """Return when all is written, or the disk has had its time."""
        if self._writing is not None:
            self._idle = Deferred()
            with suppress(defer.TimeoutError):
                await self._idle.addTimeout(_TIMEOUT, self._reactor)

    def _write(self) -> None:
        if self._path is None or self._writing is not None or not self._waiting:
            return
        lines, self._waiting = self._waiting, []
        count, self._stood_for = self._stood_for, 0
        self._writing = deferToThreadPool(
            self._reactor, self._reactor.getThreadPool(), append, self._path, "".join(lines)
        )
        self._writing.addCallbacks(self._has_worked, self._failed, errbackArgs=(count,))
        self._writing.addBoth(self._go_on)

    def _go_on(self, _result: Any) -> None:
        self._writing = None
        self._write()
        self._say_idle()

    def _say_idle(self) -> None:
        if self._idle is not None and not self._writing:
            idle, self._idle = self._idle, None
            idle.callback(None)

    def _has_worked(self, _result: Any) -> None:
        if self._has_failed:
            log.info("audit log {path}: written again", path=str(self._path))
        self._has_failed = False

    def _failed(self, failure: Any, count: int) -> None:
        self._left_out += count
        if not self._has_failed:
            log.warn(
                "audit log {path}: cannot be written ({error}); requests are served without it",
                path=str(self._path),
                error=failure.getErrorMessage(),
            )
        self._has_failed = True


def line(
    facts: dict[str, Any], now: float, status: int, problem: str | None, left_out: int = 0
) -> str:
    """Return the line of one request.

    :param left_out: how many requests before it have none.
    """
    said = {key: _bounded(facts.get(key)) for key in ("from", "token", "method", "job", "builder")}
    when = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
    record = {"time": when, **said, "outcome": _outcome(status), "status": status}
    record["problem"] = problem
    return strict_json.dumps(record | ({"left_out": left_out} if left_out else {})) + "\n"


def _bounded(value: Any) -> str | None:
    return None if value is None else str(value)[:LONGEST]


def _outcome(status: int) -> str:
    if status < _REFUSED:
        return "done"
    return "refused" if status < _FAILED else "failed"


def append(path: Path, text: str) -> None:
    """Add to a file, which is its owner's alone; put it aside when it is large. Blocks.

    It is opened each time, so that it may be renamed at any moment, as ``logrotate`` does.

    :raises OSError: if it cannot be written.
    """
    with suppress(FileNotFoundError):
        if path.lstat().st_size >= LARGEST:
            _put_aside(path)
    _write(path, text.encode())


def _write(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = os.open(path, flags, _OWNER_ONLY)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is no ordinary file")
        if stat.S_IMODE(status.st_mode) != _OWNER_ONLY:
            os.fchmod(file, _OWNER_ONLY)
        _write_all(file, data, status.st_size)
    finally:
        os.close(file)


def _write_all(file: int, data: bytes, size: int) -> None:
    """Write to a file of this size; leave no half of a line on a disk that is full."""
    try:
        while data:
            data = data[os.write(file, data) :]
    except OSError:
        os.ftruncate(file, size)
        raise


def _put_aside(path: Path) -> None:
    """Rename a file to ``.1``, and those before it accordingly; the oldest goes."""
    for number in range(KEPT, 0, -1):
        older = path if number == 1 else _aside(path, number - 1)
        with suppress(FileNotFoundError):
            older.replace(_aside(path, number))


def _aside(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")
