# SPDX-License-Identifier: GPL-2.0-only
"""Use of the cache by one exchange: what is kept, whether it is good still, and what to keep."""

from __future__ import annotations

from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, Final

import h11
from twisted.internet.defer import CancelledError

from latent_libvirt.host.proxy import cacheable
from latent_libvirt.host.proxy.headers import MOST_HEADERS
from latent_libvirt.host.proxy.stored_end import StoredEnd

if TYPE_CHECKING:
    from latent_libvirt.config import DestinationConfig
    from latent_libvirt.host.proxy.file_cache import Copy, FileCache
    from latent_libvirt.host.proxy.headers import Target

NOT_MODIFIED: Final = 304


class CacheUse:
    """What the cache does for one exchange.

    :param key: of ``cacheable.cache_key``.
    """

    def __init__(self, cache: FileCache, key: str, target: Target) -> None:
        self._cache = cache
        self._key = key
        self._target = target
        self._file: IO[bytes] | None = None
        self._copy: Copy | None = None
        self._head: list[bytes] | None = []  # what has come before it is known what it is
        self._is_over = False
        self._validators: list[tuple[bytes, bytes]] = []

    async def look(self) -> bool:
        """Look for a response; return whether it can be used without asking the destination."""
        head = None
        with suppress(OSError, CancelledError):
            self._file = await self._cache.find(self._key)
            head = None if self._file is None else await self._cache.run(_head, self._file)
        if head is None or self._is_over:
            self._forget()
            return False
        self._validators = cacheable.validators_of(head)
        return cacheable.never_changes(self._target)

    def request(self) -> h11.Request:
        """Return what the destination is asked."""
        return cacheable.request_for_all(self._target, self._validators)

    def is_confirmed_by(self, response: h11.Response) -> bool:
        """Whether the destination says that what was found is good still."""
        return self._file is not None and response.status_code == NOT_MODIFIED

    def stored_end(self, owner: Any) -> StoredEnd:
        """Return the end of a connection that answers with what was found."""
        assert self._file is not None
        file, self._file = self._file, None
        return StoredEnd(owner, self._cache, file)

    def given(self, *, complete: bool, sha256: str) -> None:
        """Note what a guest was given of the file; one that is damaged is kept no longer.

        :param sha256: of its body.
        """
        if not (complete and cacheable.is_what_was_named(self._target, sha256)):
            self._cache.delete(self._key)

    def answered(self, response: h11.Response) -> None:
        """Begin to keep another response, if it may be kept."""
        self._forget()
        head, self._head = b"".join(self._head or ()), None
        if cacheable.may_be_kept(response, self._target):
            self._copy = self._cache.begin(self._key)
            self.received(head)

    def received(self, data: bytes) -> None:
        """Take what the destination has sent."""
        if self._head is not None:
            self._head.append(data)
        elif self._copy is not None:
            self._copy.add(data)

    def end(self, *, complete: bool, sha256: str) -> None:
        """Keep the response if it is complete, and what its URL names.

        :param sha256: of its body.
        """
        self._is_over = True
        self._forget()
        copy, self._copy = self._copy, None
        if copy is not None and complete and cacheable.is_what_was_named(self._target, sha256):
            copy.finish()
        elif copy is not None:
            copy.drop()

    def _forget(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            self._cache.close(file)


def use_of(
    cache: FileCache, request: h11.Request, target: Target, destination: DestinationConfig
) -> CacheUse | None:
    """Return the use that a request can make of the cache; ``None`` if it is not for it."""
    key = cacheable.cache_key(request, target, destination) if cache.space() else None
    return None if key is None else CacheUse(cache, key, target)


def _head(file: IO[bytes]) -> h11.Response | None:
    """Return the head of a response, if it is one. Blocks."""
    http = h11.Connection(h11.CLIENT, MOST_HEADERS)
    http.send(h11.Request(method=b"GET", target=b"/", headers=[(b"Host", b"x")]))
    try:
        http.receive_data(file.read(MOST_HEADERS))
        file.seek(0)
        found = http.next_event()
    except (OSError, h11.RemoteProtocolError):
        return None
    return found if isinstance(found, h11.Response) else None
