# SPDX-License-Identifier: GPL-2.0-only
"""Comparison of two runs: each figure with its spread, and whether it has changed.

A figure is the median over the windows of a run. It has changed if the notches of both medians do
not overlap, and the medians differ by more than :data:`NOISE`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.plain_text import as_text
from latent_libvirt.stress.measure.processes import MACHINE
from latent_libvirt.stress.report import data as data_module
from latent_libvirt.stress.report.numbers import Middle, Spread
from latent_libvirt.stress.report.windows import Windows, builds_per_minute, busy

if TYPE_CHECKING:
    from latent_libvirt.stress.measure.raw import Row
    from latent_libvirt.stress.report.data import Data

NOISE: Final = 0.15
"""Relative difference that is no change: a machine is not the same from run to run."""

FEWEST: Final = 3
"""Windows that a figure needs on both sides."""

Better = Literal["more", "less"]
Change = Literal["better", "worse", "same", "unknown"]
_MIB: Final = 2**20


@dataclass(frozen=True)
class Figure:
    """One figure of both runs.

    :param better: whether more or less of it is better.
    """

    name: str
    unit: str
    better: Better
    before: Middle
    after: Middle

    @property
    def ratio(self) -> float | None:
        """How much it is of what it was; ``None`` of nothing, or if one run has no such figure."""
        if not self.after.count or not self.before.median:
            return None
        return self.after.median / self.before.median

    @property
    def change(self) -> Change:
        """Whether it has changed beyond the noise."""
        if min(self.before.count, self.after.count) < FEWEST or self.ratio is None:
            return "unknown"
        distance = abs(self.after.median - self.before.median)
        if distance <= max(self.before.notch + self.after.notch, NOISE * abs(self.before.median)):
            return "same"
        return "better" if (self.ratio > 1) == (self.better == "more") else "worse"


@dataclass(frozen=True)
class Comparison:
    """Two runs.

    :param differences: of their profiles, as lines of a diff.
    :param gone: names of figures that only one of them has.
    """

    before: Path
    after: Path
    figures: tuple[Figure, ...]
    differences: tuple[str, ...]
    gone: tuple[str, ...]

    @property
    def is_too_short(self) -> bool:
        """Whether no figure has enough values on both sides to be compared."""
        return len(self.changed("unknown")) == len(self.figures)

    def changed(self, how: Change) -> list[Figure]:
        """Return the figures that have changed in that way."""
        return [figure for figure in self.figures if figure.change == how]


def compare(before: Path, after: Path) -> Comparison:
    """Compare the runs whose reports are in two directories.

    :raises ConfigurationError: there is no report in one of them, or they have no figure that can
        be compared.
    """
    (first, found), (second, others) = _read(before), _read(after)
    compared = Comparison(
        before,
        after,
        tuple(
            Figure(name, unit, better, middle, others[name, unit, better])
            for (name, unit, better), middle in found.items()
            if (name, unit, better) in others
        ),
        tuple(_diff(first.run.profile, second.run.profile)),
        tuple(sorted({name for name, *_ in found.keys() ^ others.keys()})),
    )
    _refuse_nothing(compared)
    return compared


def _refuse_nothing(found: Comparison) -> None:
    if not any(figure.before.count and figure.after.count for figure in found.figures):
        raise ConfigurationError(
            f"nothing can be compared in {found.before} and {found.after}",
            details="They have no figure in common.",
            resolution="Give reports with all of their raw data.",
        )


def measured(data: Data) -> dict[tuple[str, str, Better], Middle]:
    """Return the figures of one run, each with its unit and what is better."""
    windows = Windows.of(data)
    found: dict[tuple[str, str, Better], Middle] = {}
    for name, unit, better, values in _figures(data, windows):
        found[name, unit, better] = Middle.of(values)
    return found


_Values = Iterable[float]


def _figures(data: Data, windows: Windows) -> Iterator[tuple[str, str, Better, _Values]]:
    rates = builds_per_minute(data, windows)
    yield "throughput", "builds/min", "more", rates.values()
    yield "age of the oldest request", "s", "less", _ages(data, windows)
    yield "POST of a job", "s", "less", _medians(windows, data.posts, "seconds")
    for kind in sorted({row["kind"] for row in data.web}):
        rows = [row for row in data.web if row["kind"] == kind]
        yield f"web: {kind}, median", "s", "less", _medians(windows, rows, "seconds")
        yield f"web: {kind}, 99 %", "s", "less", _p99s(windows, rows)
    for name, rows in data.reactor.items():
        yield f"event loop of {name}", "s", "less", _medians(windows, rows, "max")
    yield from _of_processes(data, windows, rates)
    yield from _starts(data, windows)


def _of_processes(
    data: Data, windows: Windows, rates: Mapping[int, float]
) -> Iterator[tuple[str, str, Better, _Values]]:
    for name in sorted({row["process"] for row in data.processes}):
        used = busy(data, windows, name)
        costs = [60 * used[n] / rate for n, rate in rates.items() if rate > 0 and n in used]
        yield f"processor time of {name}", "s/build", "less", costs
        if name != MACHINE:
            rows = [row for row in data.processes if row["process"] == name]
            memory = windows.means(rows, lambda row: row["memory"] / _MIB)
            yield f"memory of {name}", "MiB", "less", memory.values()
    shares = windows.rates(data.database, "seconds")
    costs = [60 * share / rates[n] for n, share in shares.items() if rates.get(n, 0) > 0]
    yield "statements", "s/build", "less", costs


def _starts(data: Data, windows: Windows) -> Iterator[tuple[str, str, Better, _Values]]:
    good = [lease for lease in data.leases if not lease["failure"]]
    for way, phase in sorted({(each["way"], p) for each in good for p in each["phases"]}):
        if phase in {"build", "idle"}:
            continue  # they are the jobs'
        rows = [
            {"at": each["at"], "seconds": each["phases"][phase]}
            for each in good
            if each["way"] == way and phase in each["phases"]
        ]
        yield f"start ({way}): {phase}", "s", "less", _medians(windows, rows, "seconds")


def _ages(data: Data, windows: Windows) -> _Values:
    return windows.means(data.queue, lambda row: float(row["age"])).values()


def _medians(windows: Windows, rows: Iterable[Row], key: str) -> _Values:
    return _over(windows, rows, lambda some: Middle.of(float(row[key]) for row in some).median)


def _p99s(windows: Windows, rows: Iterable[Row]) -> _Values:
    return _over(windows, rows, lambda some: Spread.of(row["seconds"] for row in some).p99)


def _over(
    windows: Windows, rows: Iterable[Row], value: Callable[[list[Row]], float]
) -> list[float]:
    return [value(some) for some in windows.grouped(rows).values()]


def _read(directory: Path) -> tuple[Data, dict[tuple[str, str, Better], Middle]]:
    try:
        data = data_module.read(directory)
        return data, measured(data)
    except OSError as error:
        reason = f"{error.filename or directory}: {error.strerror or error}"
    except (ValueError, RecursionError) as error:
        reason = str(error)
    except (TypeError, KeyError, AttributeError, ArithmeticError) as error:
        reason = f"a row lacks what it should have ({type(error).__name__}: {error})"
    raise ConfigurationError(
        f"{directory} has no report that can be read",
        details=as_text(reason),
        resolution="Give the directory that was the --report of a run.",
    )


def _diff(before: str, after: str) -> Iterator[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return (line for line in lines if line[:3] not in {"---", "+++"} and line[:2] != "@@")
