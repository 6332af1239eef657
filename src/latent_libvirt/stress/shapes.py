# SPDX-License-Identifier: GPL-2.0-only
"""Shapes of jobs: which builder runs a job, with which properties, and which shape comes when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Final

WORK: Final = "stress-work"
"""The builder of most jobs."""

PARENT: Final = "stress-parent"
"""The builder of jobs that trigger others."""

CHILDREN: Final = "children"
"""The property that says how many."""

MOST_CHILDREN: Final = 10


@dataclass(frozen=True)
class Shape:
    """What a job does.

    :param lines: that it logs.
    :param seconds: that it takes.
    :param exit_status: of its command.
    :param children: how many jobs it triggers and waits for.
    :param builder: that runs it, if not one of those above.
    :param properties: more of them.
    """

    lines: int = 1
    seconds: float = 0.0
    exit_status: int = 0
    children: int = 0
    builder: str | None = None
    properties: tuple[tuple[str, Any], ...] = ()

    def request(self) -> dict[str, Any]:
        """Return the body of the POST that starts such a job."""
        properties: dict[str, Any] = {
            "lines": self.lines,
            "seconds": self.seconds,
            "exit_status": self.exit_status,
        }
        if self.children:
            properties[CHILDREN] = self.children
        builder = self.builder or (PARENT if self.children else WORK)
        return {"builder": builder, "properties": properties | dict(self.properties)}


def drawn(weights: Mapping[str, float], random: Random) -> Iterator[str]:
    """Yield names of shapes without end, each as often as its weight says."""
    names = list(weights)
    while True:
        yield from random.choices(names, [weights[name] for name in names])
