# SPDX-License-Identifier: GPL-2.0-only
"""Which of some hosts has the most free slots: known at once, kept up to date in logarithmic time.

Pure arithmetic; what makes a slot free is decided in ``capacity.py``.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping


class HostRanking:
    """The hosts of some labels, ordered by their free slots; among equals, as they are configured.

    :param hosts: their names.
    :param free: how many slots of each host are free; looked at, never changed, here.
    """

    def __init__(self, hosts: tuple[str, ...], free: Mapping[str, int]) -> None:
        self._position = {host: position for position, host in enumerate(hosts)}
        self._free = free
        self._heap: list[tuple[int, int, str]] = []
        self._build()

    def note_change(self, host: str) -> None:
        """Take note that the free slots of *host* have changed."""
        # The entry for its old number stays, and is thrown away when it comes to the top.
        heapq.heappush(self._heap, self._entry(host))
        if len(self._heap) > 4 * len(self._position):
            self._build()

    def best(self) -> str | None:
        """Return the host with the most free slots; ``None`` if none has any."""
        while self._heap:
            free, _, host = self._heap[0]
            if -free == self._free[host]:
                return host if free else None
            heapq.heappop(self._heap)
        return None

    def _build(self) -> None:
        self._heap = [self._entry(host) for host in self._position]
        heapq.heapify(self._heap)

    def _entry(self, host: str) -> tuple[int, int, str]:
        return -self._free[host], self._position[host], host
