# SPDX-License-Identifier: GPL-2.0-only
"""Watch of the pool's YAML file, which reads the file after each change.

The watch polls, since that works on every file system and however an editor replaces the file. It
compares the content, since a change may leave size, inode and time of the last change as they were
(``rsync --inplace --times``, coarse clocks). It reads and checks the file in a thread.
``master/service/pool_service.py`` decides what becomes of a new configuration.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from latent_libvirt.config.load import load
from latent_libvirt.config.problems import InvalidConfiguration
from latent_libvirt.config.source import raw_content
from latent_libvirt.deferreds import repeat

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig

log = Logger()

INTERVAL = 0.5
"""Seconds between two looks. A file counts as saved when two looks in a row see the same."""

_Seen = bytes | str
"""The digest of the content, or why there is none."""


class LiveFile:
    """Watches one file.

    :param applied: called with each valid configuration that has been saved, also if it is equal to
        the one before.
    :param refused: called with what is wrong with one that is not valid.
    """

    def __init__(
        self,
        path: str,
        *,
        applied: Callable[[PoolConfig], None],
        refused: Callable[[InvalidConfiguration], None],
        reactor: Any,
    ) -> None:
        self._path = path
        self._applied = applied
        self._refused = refused
        self._reactor = reactor
        self._last_look: _Seen | None = None
        self._read: _Seen | None = None
        self._looking: LoopingCall | None = None

    def start(self) -> None:
        """Begin to watch; what the file holds now is read too."""
        what = f"{self._path} cannot be looked at"
        self._looking = repeat(
            self._look, every=INTERVAL, what=what, reactor=self._reactor, now=True
        )

    def stop(self) -> None:
        """Watch no longer."""
        if self._looking is not None and self._looking.running:
            self._looking.stop()

    async def _look(self) -> None:
        seen = await self._in_thread(_look_at, self._path)
        settled = seen == self._last_look
        self._last_look = seen
        if settled and seen != self._read:
            self._read = seen
            await self._load()

    async def _load(self) -> None:
        try:
            config = await self._in_thread(load, self._path)
        except InvalidConfiguration as error:
            self._refused(error)
        except Exception:  # noqa: BLE001 - whatever a file does, the next one is read
            log.failure("{path} cannot be read", path=self._path)
        else:
            self._apply(config)

    def _apply(self, config: PoolConfig) -> None:
        try:
            self._applied(config)
        except Exception:  # noqa: BLE001 - the same
            log.failure("{path} cannot be applied", path=self._path)

    def _in_thread(self, function: Callable[[str], Any], *args: Any) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *args)


def _look_at(path: str) -> _Seen:
    """Return what distinguishes one state of a file from another."""
    try:
        return hashlib.sha256(raw_content(path)).digest()
    except (OSError, ValueError) as error:
        return str(error)
