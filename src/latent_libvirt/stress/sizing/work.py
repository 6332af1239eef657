# SPDX-License-Identifier: GPL-2.0-only
"""Work: the amounts of all things that cost processor time, and each part's share of them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Final, Self

DEPLOYED: Final = ("scheduler", "interface", "database", "router")
"""Parts of a deployment: a scheduler master, each interface master, PostgreSQL and the router."""

PARTS: Final = (*DEPLOYED, "harness")
"""Those of a run of the stress harness."""


@dataclass(frozen=True)
class Traffic:
    """What happens in a deployment in a second.

    :param builds: that begin; as many end.
    :param lines: that builds log.
    :param messages: with lines of logs, from a worker to its master.
    :param vms: that run builds.
    :param reads: requests to the web.
    """

    builds: float = 0.0
    lines: float = 0.0
    messages: float = 0.0
    vms: float = 0.0
    reads: float = 0.0

    def times(self, factor: float) -> Self:
        """Return as many times as much of all."""
        return replace(
            self, **{each.name: factor * getattr(self, each.name) for each in fields(self)}
        )


@dataclass(frozen=True)
class Work(Traffic):
    """What one part has to do in a second.

    :param masters: that run at all; it is a rate without a load.
    :param news: builds of which a master learns, counted once for each master.
    """

    masters: float = 0.0
    news: float = 0.0


def work_of(part: str, traffic: Traffic, interface_masters: int) -> Work:
    """Return the work of a part.

    :param part: one of :data:`PARTS`; of interface masters, the work of each.
    """
    everywhere = traffic.builds * interface_masters
    match part:
        case "scheduler":
            return Work(builds=traffic.builds, reads=traffic.reads, masters=1)
        case "interface":
            each = replace(traffic, reads=0.0).times(1 / interface_masters)
            return _work(each, masters=1, news=traffic.builds)
        case _:
            return _work(traffic, masters=interface_masters + 1, news=everywhere)


def _work(traffic: Traffic, *, masters: float, news: float) -> Work:
    same = {each.name: getattr(traffic, each.name) for each in fields(traffic)}
    return Work(**same, masters=masters, news=news)
