# SPDX-License-Identifier: GPL-2.0-only
"""Series of a run for its plots: seconds from its beginning, and a value."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from latent_libvirt.stress.report.numbers import Spread, mean

if TYPE_CHECKING:
    from latent_libvirt.stress.measure.raw import Row
    from latent_libvirt.stress.report.data import Data

Series = dict[str, list[tuple[float, float]]]

WINDOW: Final = 5.0
"""Seconds over which rates and percentiles are taken."""


def queue(data: Data) -> Series:
    """Return how many requests wait, and how many run."""
    return {
        "waiting": _points(data, data.queue, lambda row: row["waiting"]),
        "running": _points(data, data.queue, lambda row: row["unfinished"] - row["waiting"]),
    }


def age(data: Data) -> Series:
    """Return how long the oldest request that waits has waited."""
    return {"oldest": _points(data, data.queue, lambda row: row["age"])}


def throughput(data: Data) -> Series:
    """Return how many requests end in a minute."""
    found = []
    windows = {0.0: data.queue[:1]} | _windows(data, data.queue[1:])
    for (_, before), (at, rows) in pairwise(windows.items()):
        seconds = rows[-1]["at"] - before[-1]["at"]
        found.append((at, 60 * (rows[-1]["finished"] - before[-1]["finished"]) / seconds))
    return {"builds/min": found}


def web(data: Data) -> Series:
    """Return the 99th percentile of each kind of request."""
    kinds = sorted({row["kind"] for row in data.web})
    return {kind: _p99(data, [row for row in data.web if row["kind"] == kind]) for kind in kinds}


def processes(data: Data, value: Callable[[Row], float]) -> Series:
    """Return a value of each part over time."""
    names = sorted({row["process"] for row in data.processes})
    rows = {name: [r for r in data.processes if r["process"] == name] for name in names}
    return {name: _means(data, rows[name], value) for name in names}


def reactors(data: Data) -> Series:
    """Return the worst event-loop delay of each second, of each master."""
    return {
        name: _points(data, rows, lambda row: row["max"]) for name, rows in data.reactor.items()
    }


def database(data: Data) -> Series:
    """Return how many seconds statements take for each second."""
    found = [
        (after["at"] - data.run.began, (after["seconds"] - row["seconds"]) / WINDOW)
        for row, after in pairwise(data.database)
    ]
    return {"statements": found}


def _points(
    data: Data, rows: Iterable[Row], value: Callable[[Row], float]
) -> list[tuple[float, float]]:
    return [(max(0.0, row["at"] - data.run.began), value(row)) for row in rows]


def _means(
    data: Data, rows: Iterable[Row], value: Callable[[Row], float]
) -> list[tuple[float, float]]:
    return [(at, mean(map(value, some))) for at, some in _windows(data, rows).items()]


def _p99(data: Data, rows: list[Row]) -> list[tuple[float, float]]:
    windows = _windows(data, rows)
    return [(at, Spread.of(row["seconds"] for row in some).p99) for at, some in windows.items()]


def _windows(data: Data, rows: Iterable[Row]) -> dict[float, list[Row]]:
    found: dict[float, list[Row]] = defaultdict(list)
    for row in rows:
        number = max(0.0, row["at"] - data.run.began) // WINDOW
        found[WINDOW * (number + 1)].append(row)
    return dict(found)
