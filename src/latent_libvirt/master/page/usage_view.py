# SPDX-License-Identifier: GPL-2.0-only
"""View of what builds have used, for the page: the sums of ``latent-libvirt usage``.

All masters share the database, so the master with the web UI sums alone, for all pools. A sum is
kept for a minute, and one is made at a time: however many pages ask, the database has little to do.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from twisted.internet.defer import DeferredLock

from latent_libvirt.control.messages import UsageRequest
from latent_libvirt.master.usage import sums
from latent_libvirt.timers import passed

if TYPE_CHECKING:
    from latent_libvirt.master.page.board import Board

KEPT_FOR: Final = 60.0
"""Seconds for which a sum is shown again."""

MOST: Final = 500
"""Sums that are shown: the largest."""

By = Literal["builder", "label", "host"]

_BYS: Final[tuple[By, ...]] = get_args(By)

SPANS: Final = (1, 7, 30)
"""Days that a page may ask about."""

_DAY: Final = 86400.0


class UsageView:
    """What builds have used, with advice on the labels of all pools on *board*."""

    def __init__(self, master: Any, board: Board) -> None:
        self._master = master
        self._board = board
        self._one_at_a_time = DeferredLock()
        self._kept: dict[tuple[str, int], tuple[float, dict[str, Any]]] = {}

    async def document(self, by: str, days: str) -> dict[str, Any]:
        """Return the sums and the advice; what is unknown of *by* and *days* is the default."""
        chosen: By = next((each for each in _BYS if each == by), "builder")
        span = next((each for each in SPANS if str(each) == days), SPANS[-1])
        async with self._one_at_a_time:
            at, found = self._kept.get((chosen, span), (float("-inf"), {}))
            if passed(self._master.reactor) - at >= KEPT_FOR:
                found = await self._summed(chosen, span)
                self._kept[chosen, span] = passed(self._master.reactor), found
            return found

    async def _summed(self, by: By, days: int) -> dict[str, Any]:
        since = max(0.0, float(self._master.reactor.seconds()) - days * _DAY)
        request = UsageRequest(since=since, by=by)
        report = await sums.summed(self._master, self._board.label_sizes(), request)
        return {
            "sums": [asdict(each) for each in report.sums[:MOST]],
            "left_out": max(0, len(report.sums) - MOST),
            "advice": report.advice[:MOST],
        }
