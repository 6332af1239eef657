# SPDX-License-Identifier: GPL-2.0-only
"""Figures of a run: what its raw data come to. Pure arithmetic."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from latent_libvirt.stress.driver import POSTERS
from latent_libvirt.stress.measure.processes import MACHINE
from latent_libvirt.stress.report.forecast import forecasts
from latent_libvirt.stress.report.numbers import Middle, Spread, mean
from latent_libvirt.stress.report.posting import answer_share
from latent_libvirt.stress.report.windows import Windows, builds_per_minute

if TYPE_CHECKING:
    from latent_libvirt.stress.measure.raw import Row
    from latent_libvirt.stress.report.data import Data
    from latent_libvirt.stress.report.forecast import Forecast

RESULTS: Final = ("success", "warnings", "failure", "skipped", "exception", "retry", "cancelled")

_LONGEST: Final = 60
"""Characters of a statement, where it is only named."""


@dataclass(frozen=True)
class Load:
    """Cores and memory of one part.

    :param cores: on average.
    :param busiest: cores of the busiest second.
    :param memory: bytes, at most.
    """

    cores: float
    busiest: float
    memory: int


NO_LOAD: Final = Load(0.0, 0.0, 0)


@dataclass(frozen=True)
class Figures:
    """What a run has come to.

    :param seconds: that it took.
    :param finished: jobs that have a result, by its name.
    :param lost: jobs that were accepted and have none.
    :param refused: jobs that were not accepted.
    :param late: seconds that posts began too late.
    :param posts: seconds that posts took.
    :param age: seconds that the oldest request that waits has waited.
    :param busy_slots: the share of slots that were taken while requests waited, on average.
    :param waiting_share: the share of the time in which requests waited.
    :param web: seconds of requests, by their kind.
    :param web_errors: how many requests failed, by their kind.
    :param load: of each part.
    :param reactor: event-loop delay of each master: the worst of each second.
    :param starts: seconds of each phase of a VM, by how it came up.
    :param database_share: seconds of statements for each second of the run.
    :param rate: builds that ended in a minute, over the windows of the run.
    :param forecasts: builds a minute at which resources are saturated.
    :param refusal: why the first job was not accepted that was not.
    :param answer_share: the share of their time in which posters waited for answers, while posts
        were late.
    :param slowest_statement: the one that has taken most of that, in words; empty if there is none.
    """

    seconds: float
    finished: Mapping[str, int]
    lost: int
    refused: int
    jobs_per_min: float
    late: Spread
    posts: Spread
    age: Spread
    busy_slots: float
    waiting_share: float
    web: Mapping[str, Spread]
    web_errors: Mapping[str, int]
    all_web: Spread
    load: Mapping[str, Load]
    reactor: Mapping[str, Spread]
    starts: Mapping[str, Mapping[str, Spread]]
    database_share: float
    slowest_statement: str
    vms: int
    failed_starts: int
    rate: Middle = field(default_factory=Middle)
    forecasts: tuple[Forecast, ...] = ()
    refusal: str = ""
    answer_share: float = 0.0


def figures(data: Data) -> Figures:
    """Return the figures of a run."""
    run = data.run
    accepted = [post for post in data.posts if not post["error"]]
    ends = [job for job in data.jobs if job["complete_at"] is not None]
    web = _grouped(data.web, "kind")
    return Figures(
        seconds=run.ended - run.began,
        finished=_counts(RESULTS[job["results"]] for job in ends),
        lost=len(accepted) - len(ends),
        refused=len(data.posts) - len(accepted),
        jobs_per_min=60 * len(ends) / max(1e-9, run.ended - run.began),
        late=Spread.of(post["late"] for post in data.posts),
        posts=Spread.of(post["seconds"] for post in data.posts),
        age=Spread.of(row["age"] for row in data.queue),
        busy_slots=busy_slots(data.queue, run.slots),
        waiting_share=mean(float(row["waiting"] > 0) for row in data.queue),
        web={kind: Spread.of(row["seconds"] for row in rows) for kind, rows in web.items()},
        web_errors={kind: sum(bool(r["error"]) for r in rows) for kind, rows in web.items()},
        all_web=Spread.of(row["seconds"] for row in data.web),
        load={name: _load(rows) for name, rows in _grouped(data.processes, "process").items()},
        reactor={name: Spread.of(r["max"] for r in rows) for name, rows in data.reactor.items()},
        starts=starts(data.leases),
        database_share=database_share(data.database),
        slowest_statement=slowest_statement(data.statements),
        vms=len(data.leases),
        failed_starts=sum(bool(lease["failure"]) for lease in data.leases),
        rate=Middle.of(builds_per_minute(data, Windows.of(data)).values()),
        forecasts=forecasts(data),
        answer_share=answer_share(data.posts, POSTERS),
        refusal=next((str(post["error"]) for post in data.posts if post["error"]), ""),
    )


def busy_slots(queue: Iterable[Row], slots: int) -> float:
    """Return the share of slots that were taken while requests waited."""
    if not slots:
        return 0.0
    full = [row for row in queue if row["waiting"] > 0]
    return mean((row["unfinished"] - row["waiting"]) / slots for row in full)


def starts(leases: Iterable[Row]) -> dict[str, dict[str, Spread]]:
    """Return the seconds of each phase, by how a VM came up."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for lease in leases:
        if not lease["failure"]:
            for phase, seconds in lease["phases"].items():
                found[lease["way"]][phase].append(seconds)
    return {
        way: {phase: Spread.of(numbers) for phase, numbers in phases.items()}
        for way, phases in found.items()
    }


def database_share(rows: list[Row]) -> float:
    """Return how many seconds statements took for each second."""
    if len(rows) < 2:  # noqa: PLR2004 - a difference
        return 0.0
    first, last = rows[0], rows[-1]
    return float((last["seconds"] - first["seconds"]) / (last["at"] - first["at"]))


def slowest_statement(rows: list[Row]) -> str:
    """Return the statement that has taken most time, and what each call took."""
    if not rows:
        return ""
    statement = " ".join(rows[0]["query"].split())
    short = statement if len(statement) <= _LONGEST else f"{statement[:_LONGEST]}..."
    return f"{short} ({1000 * rows[0]['seconds'] / rows[0]['calls']:.1f} ms each)"


def machine(figures_: Figures) -> Load:
    """Return the load of the whole machine."""
    return figures_.load.get(MACHINE, NO_LOAD)


def parts(figures_: Figures) -> list[tuple[str, Load]]:
    """Return the load of each part of the run, the largest first."""
    own = [(name, load) for name, load in figures_.load.items() if name != MACHINE]
    return sorted(own, key=lambda part: part[1].cores, reverse=True)


def others(figures_: Figures) -> float:
    """Return the cores that were used by what is no part of the run."""
    return max(0.0, machine(figures_).cores - sum(load.cores for _, load in parts(figures_)))


def _load(rows: list[Row]) -> Load:
    cores = [row["cores"] for row in rows]
    return Load(mean(cores), max(cores), max(row["memory"] for row in rows))


def _grouped(rows: Iterable[Row], key: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row[key]].append(row)
    return dict(sorted(found.items()))


def _counts(names: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = defaultdict(int)
    for name in names:
        found[name] += 1
    return dict(found)
