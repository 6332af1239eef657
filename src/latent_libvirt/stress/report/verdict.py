# SPDX-License-Identifier: GPL-2.0-only
"""Verdict on a run: which resource is saturated, by rules with thresholds, and what to change.

All rules are asked. The first in the order of :data:`RULES` whose threshold is reached names the
resource, and the report shows what all of them found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from latent_libvirt.plain_text import as_text
from latent_libvirt.stress.driver import POSTERS
from latent_libvirt.stress.readers.engine import NAME as READERS
from latent_libvirt.stress.report import outlook
from latent_libvirt.stress.report.figures import machine, others, parts
from latent_libvirt.stress.report.limits import (
    MOST_ANSWERS,
    MOST_CORES,
    MOST_DELAY,
    MOST_LATE,
    MOST_MACHINE,
    MOST_OTHERS,
    MOST_SLOTS,
    MOST_WAITS,
    PROCESSORS,
    SLOTS,
)

if TYPE_CHECKING:
    from latent_libvirt.stress.report.data import Run
    from latent_libvirt.stress.report.figures import Figures

NOTHING: Final = "nothing"

NOBODY: Final = "unknown, since no job was accepted"
"""What is saturated, in a run without a job."""

OTHERS: Final = "other programs on this machine"
HARNESS: Final = "the harness's "
"""Beginning of the names of its parts."""

HARNESS_PARTS: Final = 3
"""Parts whose load is known in any case: the harness, its readers, and the whole machine."""


_LONGEST: Final = 500


@dataclass(frozen=True)
class Finding:
    """What one rule found.

    :param resource: what it is about.
    :param measured: the figure, in words.
    :param threshold: from where on the resource is saturated, in words.
    :param saturated: whether it is.
    :param remedy: what to change then.
    """

    resource: str
    measured: str
    threshold: str
    saturated: bool
    remedy: str


@dataclass(frozen=True)
class Verdict:
    """The verdict.

    :param saturated: the resource, or ``nothing``.
    :param text: in a sentence or two.
    """

    saturated: str
    text: str
    findings: tuple[Finding, ...]

    @property
    def about_the_harness(self) -> str:
        """Whether the harness was a bottleneck, in words."""
        own = [finding for finding in self.findings if finding.resource.startswith(HARNESS)]
        slow = [finding for finding in own if finding.saturated]
        shown = "; ".join(
            f"{each.resource.removeprefix(HARNESS)}: {each.measured}" for each in slow or own
        )
        return f"The harness was {'a' if slow else 'not the'} bottleneck ({shown})."


def verdict(run: Run, figures: Figures) -> Verdict:
    """Return the verdict on a run."""
    findings = tuple(finding for rule in RULES for finding in rule(run, figures))
    if figures.refused and figures.refused == figures.posts.count:
        return Verdict(NOBODY, _no_job(figures), findings)
    saturated = [finding for finding in findings if finding.saturated]
    text = " ".join([*_sentences(saturated), *_unfinished(figures)])
    if not (saturated and _are_worthless(saturated[0])):
        at_limit = {finding.resource for finding in saturated}
        text = " ".join([text, *outlook.sentences(run, figures.forecasts, at_limit)])
    return Verdict(saturated[0].resource if saturated else NOTHING, text, findings)


def _no_job(figures: Figures) -> str:
    return (
        f"None of {figures.refused} jobs was accepted, so the figures say nothing of a load. The "
        f"first answer was: {as_text(figures.refusal)[:_LONGEST]}"
    )


def _are_worthless(first: Finding) -> bool:
    """Whether the figures say nothing of the deployment, as the first finding has it."""
    return first.resource.startswith(HARNESS) or first.resource == OTHERS


def _sentences(saturated: list[Finding]) -> Iterator[str]:
    if not saturated:
        yield "Nothing is saturated."
        return
    first, *more = saturated
    yield f"Saturated: {first.resource} ({first.measured}). {first.remedy}"
    if more:
        yield f"Also at their limits: {', '.join(finding.resource for finding in more)}."


def _unfinished(figures: Figures) -> Iterator[str]:
    if figures.lost:
        yield f"{figures.lost} jobs had not ended when the time was over."
    if figures.refused:
        yield f"{figures.refused} jobs were not accepted."


def _cores(figures: Figures, name: str, resource: str, remedy: str) -> Iterator[Finding]:
    load = figures.load.get(name)
    if load is not None:
        yield Finding(
            resource,
            f"{load.cores:.2f} of a core on average",
            f"{MOST_CORES} of a core",
            load.cores >= MOST_CORES,
            remedy,
        )


def _lateness(figures: Figures) -> str:
    text = f"posts began {figures.late.p99:.2f} s late (99 %)"
    if figures.late.p99 >= MOST_LATE:
        text += f", and waited for answers to others in {figures.answer_share:.0%} of that time"
    return text


def _driver(_run: Run, figures: Figures) -> Iterator[Finding]:
    yield Finding(
        "the harness's driver",
        _lateness(figures),
        f"{MOST_LATE} s, and less than {MOST_ANSWERS:.0%}",
        figures.late.p99 >= MOST_LATE and figures.answer_share < MOST_ANSWERS,
        "The figures say nothing about the deployment. Run the harness on a faster machine.",
    )


def _accepting(_run: Run, figures: Figures) -> Iterator[Finding]:
    yield Finding(
        "the job API",
        f"a POST takes {figures.posts.p99:.2f} s (99 %), and {_lateness(figures)}",
        f"{MOST_LATE} s, and {MOST_ANSWERS:.0%}",
        figures.late.p99 >= MOST_LATE and figures.answer_share >= MOST_ANSWERS,
        f"Jobs arrive faster than the master with the job API answers {POSTERS} POSTs at once.",
    )


def _engine(_run: Run, figures: Figures) -> Iterator[Finding]:
    remedy = "Web latencies are those of the readers. Use fewer readers."
    yield from _cores(figures, READERS, "the harness's readers", remedy)


def _guests(run: Run, figures: Figures) -> Iterator[Finding]:
    remedy = "Simulated guests are too slow. Use fewer slots for each master."
    for master in run.masters:
        name = f"guests of {master}"
        yield from _cores(figures, name, f"the harness's {name}", remedy)


def _masters(run: Run, figures: Figures) -> Iterator[Finding]:
    for master in run.masters:
        if run.target:
            remedy = "If it is an interface master, another one would help."
        elif master == "scheduler":
            remedy = "Fewer readers, or a second scheduler master for them, would help."
        elif master == "single":
            remedy = "A scheduler master and interface masters would help."
        else:
            remedy = "Another interface master would help."
        yield from _cores(figures, master, master, remedy)


def _loops(run: Run, figures: Figures) -> Iterator[Finding]:
    for master in run.masters:
        delay = figures.reactor.get(master)
        if delay is not None:
            yield Finding(
                f"the event loop of {master}",
                f"late by {delay.p50:.3f} s (median of the worst of each second)",
                f"{MOST_DELAY} s",
                delay.p50 >= MOST_DELAY,
                "Something holds its reactor.",
            )


def _machine(run: Run, figures: Figures) -> Iterator[Finding]:
    share = machine(figures).cores / run.cores
    most = ", ".join(f"{name} {load.cores:.2f}" for name, load in parts(figures)[:3])
    yield Finding(
        PROCESSORS
        if not run.target or len(figures.load) > HARNESS_PARTS
        else "the harness's machine",
        f"{share:.0%} of {run.cores} cores, most of it for {most}",
        f"{MOST_MACHINE:.0%}",
        share >= MOST_MACHINE,
        "Put masters and database on separate machines, or give this one more processors.",
    )


def _others(run: Run, figures: Figures) -> Iterator[Finding]:
    share = others(figures) / run.cores
    busy = machine(figures).cores / run.cores
    yield Finding(
        OTHERS,
        f"they took {share:.0%} of {run.cores} cores, of which {busy:.0%} were busy",
        f"{MOST_OTHERS:.0%}, and {MOST_MACHINE:.0%} busy",
        share >= MOST_OTHERS and busy >= MOST_MACHINE,
        "The figures are those of a share of the machine. Run it again when nothing else runs.",
    )


def _waits(_run: Run, figures: Figures) -> Iterator[Finding]:
    if "postgresql" not in figures.load:
        return  # what it works cannot be told from what it waits
    used = figures.load["postgresql"].cores
    waits = max(0.0, figures.database_share - used)
    yield Finding(
        "locks in the database",
        f"statements waited {waits:.2f} s for each second, most of all "
        f"{figures.slowest_statement or 'none'}",
        f"{MOST_WAITS} s",
        waits >= MOST_WAITS,
        "Transactions wait for each other. Look at the first statements of the table.",
    )


def _slots(run: Run, figures: Figures) -> Iterator[Finding]:
    if not run.slots:
        return
    yield Finding(
        SLOTS,
        f"{figures.busy_slots:.0%} of {run.slots} taken while requests waited",
        f"{MOST_SLOTS:.0%}",
        figures.busy_slots >= MOST_SLOTS,
        "More hosts, or more slots, would help.",
    )


RULES: Final[tuple[Callable[[Run, Figures], Iterator[Finding]], ...]] = (
    _driver,
    _engine,
    _guests,
    _others,
    _machine,
    _masters,
    _loops,
    _waits,
    _slots,
    _accepting,
)
"""In the order in which they count: what makes figures worthless comes first."""
