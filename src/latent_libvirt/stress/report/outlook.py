# SPDX-License-Identifier: GPL-2.0-only
"""Outlook of a verdict in words: at which load the next limit is, and when another master pays."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from latent_libvirt.stress.report.data import Run
    from latent_libvirt.stress.report.forecast import Forecast
    from latent_libvirt.stress.report.numbers import Middle

OTHER_MASTERS: Final = ("scheduler", "single", "web")
"""Names of masters that are no interface masters."""


def sentences(run: Run, forecasts: Sequence[Forecast], at_limit: Collection[str]) -> Iterator[str]:
    """Yield what follows from the forecasts of a run.

    :param forecasts: the one first that is saturated first.
    :param at_limit: resources that were saturated in the run.
    """
    coming = [forecast for forecast in forecasts if forecast.resource not in at_limit]
    if coming:
        first = coming[0]
        yield f"With this mix of jobs, {first.resource} would be saturated at {_about(first.at)}."
    masters = [f for f in forecasts if f.resource in _interface_masters(run)]
    others = [f for f in forecasts if f.resource not in _interface_masters(run)]
    if masters and masters[:1] == coming[:1] and coming[0] == forecasts[0]:
        yield "Another interface master pays from there on."
    elif masters:
        yield _another_master(masters, others)
    elif any(f.resource == "single" for f in forecasts):
        (single,) = (f for f in forecasts if f.resource == "single")
        yield (
            "A scheduler master and interface masters on separate processors pay from about "
            f"{single.at.median:.0f} builds a minute on."
        )


def _another_master(masters: Sequence[Forecast], others: Sequence[Forecast]) -> str:
    limit = masters[0].at
    if not others or limit.median <= others[0].at.median:
        return f"Another interface master pays from {_about(limit)} on."
    return (
        "Another interface master does not pay yet. The nearer limit is that of "
        f"{others[0].resource}, at {_about(others[0].at)}. That of the interface masters is at "
        f"{_about(limit)}."
    )


def _interface_masters(run: Run) -> list[str]:
    return [name for name in run.masters if name not in OTHER_MASTERS]


def _about(rate: Middle) -> str:
    return f"about {rate.median:.0f} builds a minute ({rate.low:.0f} to {rate.high:.0f})"
