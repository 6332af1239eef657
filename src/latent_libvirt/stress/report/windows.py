# SPDX-License-Identifier: GPL-2.0-only
"""Windows of a run: equal lengths of time, over which rates and loads have a spread."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from latent_libvirt.stress.report.numbers import mean

if TYPE_CHECKING:
    from latent_libvirt.stress.measure.raw import Row
    from latent_libvirt.stress.report.data import Data

SHORTEST: Final = 5.0
MOST: Final = 20
"""Seconds of a window at least, and how many windows a run has at most."""


@dataclass(frozen=True)
class Windows:
    """The windows of one run.

    :param began: when the first begins.
    :param length: of each, in seconds.
    """

    began: float
    length: float

    @classmethod
    def of(cls, data: Data) -> Windows:
        """Return those of a run."""
        seconds = data.run.ended - data.run.began
        return cls(data.run.began, max(SHORTEST, seconds / MOST))

    def grouped(self, rows: Iterable[Row]) -> dict[int, list[Row]]:
        """Return the rows of each window, by its number."""
        found: dict[int, list[Row]] = defaultdict(list)
        for row in rows:
            found[int(max(0.0, row["at"] - self.began) // self.length)].append(row)
        return dict(found)

    def means(self, rows: Iterable[Row], value: Callable[[Row], float]) -> dict[int, float]:
        """Return the mean of a value in each window."""
        return {number: mean(map(value, some)) for number, some in self.grouped(rows).items()}

    def rates(self, rows: Iterable[Row], counter: str) -> dict[int, float]:
        """Return how much a counter grows in a second of each window."""
        last = {number: some[-1] for number, some in sorted(self.grouped(rows).items())}
        return {
            number: (row[counter] - before[counter]) / (row["at"] - before["at"])
            for (_, before), (number, row) in pairwise(last.items())
            if row["at"] > before["at"]
        }


def builds_per_minute(data: Data, windows: Windows) -> dict[int, float]:
    """Return how many builds have ended in a minute, in each window."""
    return {n: 60 * rate for n, rate in windows.rates(data.queue, "finished").items()}


def busy(data: Data, windows: Windows, process: str) -> dict[int, float]:
    """Return the cores that a part has used, in each window."""
    rows = [row for row in data.processes if row["process"] == process]
    return windows.means(rows, lambda row: float(row["cores"]))
