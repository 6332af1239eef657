# SPDX-License-Identifier: GPL-2.0-only
"""Shared documents of the board: encoded and compressed once for all pages that ask for the same.

A change makes all open pages ask at the same moment. A large document is encoded in a thread.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.threads import deferToThread

from latent_libvirt.deferreds import Outcome
from latent_libvirt.timers import passed

if TYPE_CHECKING:
    from latent_libvirt.master.page.board import Board

KEPT_FOR: Final = 0.5
"""Seconds for which a document is sent again. Its moment ``now`` may be that old."""

MOST_KEPT: Final = 32
"""Documents of one version, each for pages that have another version."""

LARGE: Final = 200
"""Rows from which on a document is encoded in a thread. That many take some 2 ms."""

LEVEL: Final = 6
"""How well is compressed. Level 9 takes four times as long for documents that are 6 % smaller."""


@dataclass(frozen=True)
class Encoded:
    """A document of JSON as it is sent.

    :param compressed: the same as ``plain``, by gzip.
    """

    plain: bytes
    compressed: bytes


def plain(document: Mapping[str, Any]) -> bytes:
    """Return *document* as JSON."""
    return json.dumps(document, separators=(",", ":")).encode()


def encoded(document: Mapping[str, Any]) -> Encoded:
    """Return *document* as it is sent."""
    text = plain(document)
    return Encoded(text, gzip.compress(text, LEVEL, mtime=0))


class SharedDocuments:
    """Documents of *board*, by the version that pages have."""

    def __init__(self, board: Board, reactor: Any) -> None:
        self._board = board
        self._reactor = reactor
        self._version = 0
        self._made: dict[int, _Document] = {}

    async def newer(self, board: str, since: int) -> Encoded:
        """Return what is newer than *since*, as :meth:`Board.document` has it."""
        since = self._board.known(board, since)
        document = self._current(since)
        if document is None:
            document = self._made[since] = _Document(self._board, since, passed(self._reactor))
        return await document.encoded()

    def _current(self, since: int) -> _Document | None:
        if self._version != self._board.version or len(self._made) >= MOST_KEPT:
            self._version = self._board.version
            self._made.clear()
        found = self._made.get(since)
        return found if found and found.is_good(passed(self._reactor)) else None


class _Document:
    """A document, which is encoded from the moment on at which it is made."""

    def __init__(self, board: Board, since: int, at: float) -> None:
        self._at = at
        self._encoded: Encoded | None = None
        document = board.document(board.id, since)
        self._work = Outcome(self._encode(document))

    async def _encode(self, document: dict[str, Any]) -> None:
        if _rows(document) < LARGE:
            self._encoded = encoded(document)
        else:
            self._encoded = await deferToThread(encoded, document)

    def is_good(self, now: float) -> bool:
        """Whether it may still be sent at that moment."""
        if not self._work.over:
            return True
        return self._encoded is not None and now - self._at < KEPT_FOR

    async def encoded(self) -> Encoded:
        """Return it when it is encoded."""
        await self._work.wait()
        assert self._encoded is not None
        return self._encoded


def _rows(document: dict[str, Any]) -> int:
    sections = (rows for part in document["pools"].values() for rows in part["set"].values())
    return sum(map(len, sections))
