# SPDX-License-Identifier: GPL-2.0-only
"""Cache of responses in a directory of the master's: one file each, the oldest go first.

A file has the bytes of a response as they came, its head included. It has a name when it is
complete. What a killed master has left half written goes when the next one begins. Everything that
blocks is done in one thread, in order.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.logger import Logger

from latent_libvirt.deferreds import in_background
from latent_libvirt.host.libvirtd.call_threads import Calls

log = Logger()

MOST_UNWRITTEN: Final = 4 * 1024 * 1024
"""Bytes of a response that wait for the disk, above which it is not kept."""

_PART: Final = ".part"
_KEPT: Final = ".response"


class FileCache:
    """Responses of destinations, by keys.

    :param directory: of this cache alone; made when there is something to keep.
    :param space: returns how many bytes they may have; 0 keeps nothing.
    """

    def __init__(self, directory: Path, space: Callable[[], int], *, reactor: Any) -> None:
        self.space = space
        self._directory = directory
        self._reactor = reactor
        self._calls: Calls | None = None
        self._is_stopped = False
        self.unfinished = 0
        """Bytes of responses that are not complete yet, which may not take more space either."""

    async def find(self, key: str) -> IO[bytes] | None:
        """Return the response that is kept under *key*, opened; ``None`` if there is none."""
        if not self.space():
            return None
        found: IO[bytes] | None = await self.run(_open, self._path(key))
        return found

    def begin(self, key: str) -> Copy | None:
        """Return a copy of a response that begins; ``None`` if nothing is kept."""
        return Copy(self, self._path(key)) if self.space() else None

    def _path(self, key: str) -> Path:
        return self._directory / f"{hashlib.sha256(key.encode()).hexdigest()}{_KEPT}"

    def close(self, file: IO[bytes]) -> None:
        """Close what was found."""
        in_background(self.run(file.close).addErrback(_closed_late, file), "fetched files")

    def delete(self, key: str) -> None:
        """Delete the response that is kept under *key*."""
        work = self.run(partial(self._path(key).unlink, missing_ok=True))
        in_background(work.addErrback(_stays), "fetched files")

    def shrink(self) -> None:
        """Delete what there is no space for any more."""
        work = self.run(_make_room, self._directory, self.space())
        in_background(work.addErrback(_stays), "fetched files")

    def run(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """Call a function that blocks, after those that were called before.

        Once the cache has stopped, the Deferred is cancelled.
        """
        if self._is_stopped:
            return fail(CancelledError())
        if self._calls is None:
            self._calls = Calls("fetched files", reactor=self._reactor, threads=1)
            self._calls.start()
            in_background(self._calls.run(_clear, self._directory), "fetched files")
        return self._calls.run(function, *arguments)

    def stop(self) -> None:
        """Read and write no more."""
        self._is_stopped = True
        calls, self._calls = self._calls, None
        if calls is not None:
            calls.give_up()


class Copy:
    """A response on its way into the cache. Whatever goes wrong, the guest does not notice."""

    def __init__(self, cache: FileCache, path: Path) -> None:
        self._cache = cache
        self._path = path
        self._part: IO[bytes] | None = None
        self._unwritten = 0
        self._size = 0
        self._is_over = False

    def add(self, data: bytes) -> None:
        """Write more of it."""
        if self._is_over:
            return
        self._unwritten += len(data)
        self._size += len(data)
        self._cache.unfinished += len(data)
        if self._unwritten > MOST_UNWRITTEN or self._cache.unfinished > self._cache.space():
            self.drop()
        else:
            self._later(self._write, data, size=len(data))

    def finish(self) -> None:
        """Keep it: that was all."""
        if not self._is_over:
            self._end()
            self._later(self._keep, self._cache.space())

    def drop(self) -> None:
        """Keep nothing of it."""
        if not self._is_over:
            self._end()
            self._later(self._remove)

    def _end(self) -> None:
        self._is_over = True
        self._cache.unfinished -= self._size

    def _later(self, function: Callable[..., None], *arguments: Any, size: int = 0) -> None:
        done = self._cache.run(function, *arguments).addCallback(lambda _none: self._written(size))
        in_background(done.addErrback(self._failed), "fetched files")

    def _written(self, size: int) -> None:
        self._unwritten -= size

    def _failed(self, failure: Any) -> None:
        failure.trap(OSError, CancelledError)
        if failure.check(OSError) and not self._is_over:
            log.warn("a fetched file is not kept: {error}", error=str(failure.value))
        self.drop()

    # In the thread.

    def _write(self, data: bytes) -> None:
        if self._part is None:
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            self._part = tempfile.NamedTemporaryFile(  # noqa: SIM115 - it outlives this call
                dir=self._path.parent, suffix=_PART, delete=False
            )
        self._part.write(data)

    def _keep(self, space: int) -> None:
        part, self._part = self._part, None
        if part is None:
            return
        try:
            with part:
                part.flush()
                os.fsync(part.fileno())
            Path(part.name).replace(self._path)
        except OSError:
            Path(part.name).unlink(missing_ok=True)
            raise
        _make_room(self._path.parent, space)

    def _remove(self) -> None:
        part, self._part = self._part, None
        if part is not None:
            part.close()
            Path(part.name).unlink(missing_ok=True)


def _closed_late(failure: Any, file: IO[bytes]) -> None:
    """Close a file that no thread closes any more."""
    failure.trap(CancelledError)
    file.close()


def _stays(failure: Any) -> None:
    failure.trap(OSError, CancelledError)
    if failure.check(OSError):
        log.warn("fetched files stay: {error}", error=str(failure.value))


def _open(path: Path) -> IO[bytes] | None:
    """Open a response, and note that it was used."""
    try:
        file = path.open("rb")
    except OSError:
        return None
    os.utime(file.fileno())
    return file


def _clear(directory: Path) -> None:
    """Delete what a master that was killed has left."""
    for part in directory.glob(f"*{_PART}"):
        part.unlink(missing_ok=True)


def _make_room(directory: Path, space: int) -> None:
    """Delete the responses that were not used for the longest time."""
    found = sorted(
        ((file.stat(), file) for file in directory.glob(f"*{_KEPT}")),
        key=lambda each: each[0].st_mtime_ns,
        reverse=True,
    )
    for status, file in found:
        space -= status.st_size
        if space < 0:
            file.unlink(missing_ok=True)
