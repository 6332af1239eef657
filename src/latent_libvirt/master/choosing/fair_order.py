# SPDX-License-Identifier: GPL-2.0-only
"""In which order Buildbot's distributor lets builders look for room, and when a turn ends.

The order is that of ``c["prioritizeBuilders"]`` in a ``master.cfg``; ``build_chooser.py`` asks
whether a builder may go on. The rules are those of ``pool/fair_share.py``. What waits is in the
database.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from latent_libvirt.master.queue.build_requests import unclaimed
from latent_libvirt.pool.fair_share import (
    Waiting,
)

if TYPE_CHECKING:
    from latent_libvirt.master.queue.queues import Queue
    from latent_libvirt.pool.fair_share import (
        FairShare,
    )


class FairOrder:
    """The order of a master's builders.

    :param master: the Buildbot master.
    :param fair_share: which builder comes next.
    """

    def __init__(self, master: Any, fair_share: FairShare) -> None:
        self._master = master
        self.fair_share = fair_share

    async def prioritize(self, builders: list[Any], vms: Iterable[str]) -> list[Any]:
        """Return *builders* in the order in which they are to be tried.

        :param vms: the builder of each VM that there is.
        """
        queues = await self._master.db.pool.do(unclaimed)
        waiting = {builder: _waiting(by_priority) for builder, by_priority in queues.items()}
        by_name = {builder.name: builder for builder in builders}
        return [by_name[name] for name in self.fair_share.line_up(by_name, waiting, Counter(vms))]

    def is_turn_of(self, builder: Any, priority: float) -> bool:
        """Whether *builder* may go on, with a request of that priority; if not, it comes again."""
        if not any(hasattr(worker.worker, "pool_name") for worker in builder.workers):
            return True
        if self.fair_share.may_take(builder.name, priority):
            return True
        botmaster = self._master.botmaster
        self._master.reactor.callLater(0, botmaster.maybeStartBuildsForBuilder, builder.name)
        return False


def _waiting(queues: Mapping[float, Queue]) -> Waiting:
    """Return the queues of a builder, by priority, as what waits for it."""
    return Waiting(
        requests={priority: queue.requests for priority, queue in queues.items()},
        since={priority: queue.since for priority, queue in queues.items()},
    )
