# SPDX-License-Identifier: GPL-2.0-only
"""Raw data of one run, as read from the directory of its report."""

from __future__ import annotations

import json
import math
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from latent_libvirt.stress.measure import raw

if TYPE_CHECKING:
    from latent_libvirt.stress.measure.raw import Row

RAW: Final = "raw"
"""The directory with the raw data, beside the page."""


@dataclass(frozen=True)
class Run:
    """What is known of a run before anything is measured.

    :param began: when jobs began to arrive; seconds since the epoch.
    :param ended: when the last job had ended, or the time was over.
    :param cores: processors of this machine.
    :param slots: how many VMs there may be in all; 0 if that is not known.
    :param jobs: how many were planned.
    :param masters: their names; those with workers come last.
    :param hypervisor: what VMs ran on.
    :param target: the URL of a deployment that ran already; empty for one of the harness.
    :param invisible: what could not be measured.
    :param loops_by: what event loops were measured by: ``timers`` in them, or ``answers``.
    """

    began: float
    ended: float
    cores: int
    slots: int
    jobs: int
    masters: tuple[str, ...]
    profile: str = ""
    hypervisor: str = "simulated"
    target: str = ""
    invisible: tuple[str, ...] = ()
    loops_by: str = "timers"


@dataclass(frozen=True)
class Data:
    """What was measured, each as rows in the order of their times.

    :param reactor: event-loop delay, by master.
    :param leases: of all masters.
    """

    run: Run
    posts: list[Row]
    jobs: list[Row]
    queue: list[Row]
    processes: list[Row]
    database: list[Row]
    statements: list[Row]
    web: list[Row]
    reactor: dict[str, list[Row]]
    leases: list[Row]


def read(directory: Path) -> Data:
    """Return the data of the run whose report is in *directory*.

    :raises OSError: it cannot be read.
    :raises ValueError: it is not that of a run, or of another version of this package.
    """
    run = _run(directory / RAW / "run.json")

    def rows(name: str) -> list[Row]:
        return raw.rows(directory / RAW / f"{name}.jsonl")

    return Data(
        run=run,
        posts=rows("posts"),
        jobs=rows("jobs"),
        queue=rows("queue"),
        processes=_while_it_ran(rows("processes"), run),
        database=rows("database"),
        statements=rows("statements"),
        web=_while_it_ran(rows("web"), run),
        reactor={name: _while_it_ran(rows(f"reactor-{name}"), run) for name in run.masters},
        leases=[row for name in run.masters for row in rows(f"leases-{name}")],
    )


def _run(file: Path) -> Run:
    if file.exists() and not file.is_file():
        raise ValueError(f"{file.name} is not a regular file")
    about: Any = json.loads(file.read_text())
    if not isinstance(about, dict):
        raise ValueError(f"{file.name} is not about a run")  # noqa: TRY004 - of what a file has
    named = {field.name for field in fields(Run)}
    needed = {field.name for field in fields(Run) if field.default is MISSING}
    if strange := sorted({*(about.keys() - named), *(needed - about.keys())}):
        raise ValueError(f"{file.name} is of another version of latent-libvirt ({strange[0]})")
    lists = {name: tuple(about.get(name, ())) for name in ("masters", "invisible")}
    run = Run(**(about | lists))
    if not (math.isfinite(run.began) and math.isfinite(run.ended) and run.began < run.ended):
        raise ValueError(f"{file.name} has a run that ended before it began")
    return run


def _while_it_ran(rows: list[Row], run: Run) -> list[Row]:
    return [row for row in rows if run.began <= row["at"] <= run.ended]
