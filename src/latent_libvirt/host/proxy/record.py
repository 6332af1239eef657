# SPDX-License-Identifier: GPL-2.0-only
"""Record of what guests have fetched and were refused, bounded, and as lines of a log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

MOST_FETCHES: Final = 10_000
"""Fetches of one build that are listed; others are only counted."""

LONGEST_URL: Final = 2000
"""Characters of a URL that are kept."""

LONGEST_METHOD: Final = 40
"""Characters of a method that are kept: that of WebDAV with the longest name has 18."""

LONGEST_REASON: Final = 500
"""Characters of a reason that are kept."""


@dataclass(frozen=True)
class Fetch:
    """One request of a guest.

    :param method: of HTTP, or ``CONNECT``.
    :param target: the URL, or the name and port of a ``CONNECT``.
    :param status: that the guest got; 0 if the connection ended before.
    :param address: that the proxy was connected to; empty if it was not.
    :param received: bytes of the response's body, or of all that came through a ``CONNECT``.
    :param sent: bytes of the request's body, or of all that went through a ``CONNECT``.
    :param sha256: of the response's body as it was transferred; empty for a ``CONNECT``, whose
        content is encrypted from end to end, and for a body that is not complete.
    :param why: the reason, where it was refused or failed.
    :param is_cached: whether the response's body came from the cache.
    """

    method: str
    target: str
    status: int = 0
    address: str = ""
    received: int = 0
    sent: int = 0
    sha256: str = ""
    why: str = ""
    is_cached: bool = False

    def __str__(self) -> str:
        if self.why:
            return f"{self.method} {self.target}: {self.status or 'failed'} {self.why}"
        digest = f" sha256:{self.sha256}" if self.sha256 else ""
        went = f" ({self.sent} bytes sent)" if self.sent else ""
        way = f" via {self.address}" if self.address else ""
        way += " from the cache" if self.is_cached else ""
        return (
            f"{self.method} {self.target}: {self.status} {self.received} bytes{digest}{went}{way}"
        )


class Record:
    """What one VM has fetched for the build that it serves.

    :ivar fetches: of that build.
    :ivar left_out: how many more there were.
    :ivar refused: how many were refused, or failed.
    :ivar heard: called with the line of each fetch when it has ended.
    """

    def __init__(self) -> None:
        self.fetches: list[Fetch] = []
        self.left_out = 0
        self.refused = 0
        self.heard: Callable[[str], None] = _nobody

    @property
    def count(self) -> int:
        """How many there were."""
        return len(self.fetches) + self.left_out

    def add(self, fetch: Fetch) -> None:
        """Keep *fetch*, if there is room."""
        self.refused += bool(fetch.why)
        if len(self.fetches) >= MOST_FETCHES:
            self.left_out += 1
            return
        self.fetches.append(fetch)
        self.heard(str(fetch))
        if len(self.fetches) == MOST_FETCHES:
            self.heard(f"(more than {MOST_FETCHES} requests: the rest is not listed)")

    def begin(self, heard: Callable[[str], None]) -> None:
        """Begin with another build."""
        self.fetches, self.left_out, self.refused, self.heard = [], 0, 0, heard

    def end(self) -> None:
        """Tell nobody any more."""
        self.heard = _nobody


def shortened(text: str, most: int) -> str:
    """Return a text that a guest may have chosen, cut after so many characters."""
    return text if len(text) <= most else f"{text[:most]}..."


def _nobody(_line: str) -> None:
    """Drop a line: no build goes on."""
