# SPDX-License-Identifier: GPL-2.0-only
"""The order in which builders are tried, by one question to the database for all of them.

Buildbot 4.3 asks it four times for each builder, each time that builders are tried: most of the
statements of a short build. The order is the same. Builders for which nothing waits are not tried:
a request that comes later has them tried again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from buildbot.process.buildrequestdistributor import BuildRequestDistributor
from twisted.internet.defer import Deferred

from latent_libvirt.master.queue import build_requests
from latent_libvirt.upstream import relied_on

if TYPE_CHECKING:
    from latent_libvirt.master.queue.queues import Queue

RELIED_ON: Final = (
    (BuildRequestDistributor, "_defaultSorter"),
    (BuildRequestDistributor, "_sortBuilders"),
)


def install(distributor: Any) -> None:
    """Order the builders of *distributor* like that, unless ``prioritizeBuilders`` does."""
    if relied_on.are_there(
        RELIED_ON, does="orders builders", otherwise="it asks its database about each of them"
    ):
        distributor._defaultSorter = _sort  # noqa: SLF001 - there is no other hook


def _sort(master: Any, builders: Sequence[Any]) -> Deferred[list[Any]]:
    return Deferred.fromCoroutine(_sorted(master, builders))


async def _sorted(master: Any, builders: Sequence[Any]) -> list[Any]:
    if len(builders) < 2:  # noqa: PLR2004 - one is in order, and is asked for what waits next
        return list(builders)
    waiting = await master.db.pool.do(build_requests.unclaimed)
    return in_order(builders, waiting)


def in_order(builders: Sequence[Any], waiting: Mapping[str, Mapping[float, Queue]]) -> list[Any]:
    """Return those of *builders* for which requests wait, as Buildbot orders them.

    The one comes first that has the request of the highest priority, and of those the one whose
    oldest request is the oldest.

    :param waiting: what waits, by builder's name and priority.
    """

    def key(builder: Any) -> tuple[int, float, str]:
        queues = waiting[builder.name]
        # A request that a build waits for has half a step more, which is not its priority.
        highest = max(int(priority // 1) for priority in queues)
        return -highest, min(queue.since for queue in queues.values()), builder.name

    return sorted((each for each in builders if waiting.get(each.name)), key=key)
