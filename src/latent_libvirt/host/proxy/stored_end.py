# SPDX-License-Identifier: GPL-2.0-only
"""The end of a connection that answers with a response of the cache, in the place of a destination.

To the proxy it is a :class:`~latent_libvirt.host.proxy.far_end.FarEnd`: it is held up and dropped
as one, and what it sends is read, counted and hashed in the same way.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, Final

from twisted.internet.defer import CancelledError

from latent_libvirt.deferreds import in_background

if TYPE_CHECKING:
    from latent_libvirt.host.proxy.file_cache import FileCache

_READ: Final = 64 * 1024


class StoredEnd:
    """One response.

    :param owner: as that of a ``FarEnd``.
    :param file: what the cache has found.
    """

    is_full = False

    def __init__(self, owner: Any, cache: FileCache, file: IO[bytes]) -> None:
        self._owner = owner
        self._cache = cache
        self._file = file
        self._is_held = False
        self._is_reading = False
        self._is_over = False

    def write(self, _data: bytes) -> None:
        """Answer: that is what was asked for."""
        self._read()

    def hold(self, *, held: bool) -> None:
        """Read no more for a while, or go on."""
        self._is_held = held
        self._read()

    def close(self) -> None:
        """End it."""
        self.drop()

    def drop(self) -> None:
        """End it."""
        if not self._is_over:
            self._is_over = True
            self._cache.close(self._file)

    def _read(self) -> None:
        if self._is_reading or self._is_held or self._is_over:
            return
        self._is_reading = True
        reading = self._cache.run(self._file.read, _READ)
        in_background(reading.addCallbacks(self._got, self._failed), "fetched files")

    def _got(self, data: bytes) -> None:
        self._is_reading = False
        if self._is_over:
            return
        if data:
            self._owner.far_received(self, data)
            self._read()
        else:
            self._owner.far_ended(self)

    def _failed(self, failure: Any) -> None:
        failure.trap(OSError, CancelledError)
        self._is_reading = False
        if not self._is_over:
            self._owner.far_ended(self)
