# SPDX-License-Identifier: GPL-2.0-only
"""Plots as inline SVG: lines over the seconds of a run.

matplotlib would be more than the report needs, and is no dependency of this package.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lxml import etree
from lxml.builder import ElementMaker

Points = Sequence[tuple[float, float]]

WIDTH: Final = 760
HEIGHT: Final = 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 150, 24, 26
_COLOURS: Final = (
    *("#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd"),
    *("#8c564b", "#e377c2", "#17becf", "#7f7f7f", "#bcbd22"),
)
_MOST_POINTS: Final = 400
_TICKS: Final = 5
_ROUND: Final = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
_LEAST: Final = 1e-9
"""Of smaller numbers there are powers of ten only roughly, and below 1e-308 hardly any."""

_E = ElementMaker(
    namespace="http://www.w3.org/2000/svg", nsmap={None: "http://www.w3.org/2000/svg"}
)


@dataclass(frozen=True)
class _Scale:
    """What a plot spans: from 0 to these."""

    x: float
    y: float

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point is on the page."""
        right, down = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
        return _LEFT + right * x / self.x, _TOP + down * (1 - y / self.y)


def plot(lines: Mapping[str, Points], *, unit: str) -> str:
    """Return a plot of some lines, by name. It begins at 0 on both axes.

    :param unit: of the values, for the axis.
    """
    points = [point for line in lines.values() for point in line]
    scale = _Scale(
        max([1.0, *(x for x, _ in points)]), rounded_up(max([0.0, *(y for _, y in points)]))
    )
    root = _E.svg(*_axes(scale, unit), viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img")
    for number, (name, line) in enumerate(lines.items()):
        root.extend(_line(scale, name, thinned(line), number))
    return etree.tostring(root, encoding="unicode")


def rounded_up(value: float) -> float:
    """Return the next number that has one digit that counts, or is 1.5 or 2.5; 1 for 0."""
    if value <= 0:
        return 1.0
    value = max(value, _LEAST)
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in _ROUND if factor * power >= value)


def thinned(line: Points) -> list[tuple[float, float]]:
    """Return a line with fewer points: of neighbours, the largest value."""
    size = max(1, math.ceil(len(line) / _MOST_POINTS))
    pieces = [line[start : start + size] for start in range(0, len(line), size)]
    return [(piece[0][0], max(y for _, y in piece)) for piece in pieces]


def _axes(scale: _Scale, unit: str) -> Iterator[etree._Element]:
    for number in range(_TICKS + 1):
        x, y = scale.x * number / _TICKS, scale.y * number / _TICKS
        (left, top), (right, _), (along, bottom) = (
            scale.place(0, y),
            scale.place(scale.x, y),
            scale.place(x, 0),
        )
        yield _E.line(x1=_at(left), x2=_at(right), y1=_at(top), y2=_at(top), stroke="#999")
        yield _text(f"{y:g}", left - 6, top + 4, anchor="end")
        yield _text(f"{x:.0f}", along, bottom + 18, anchor="middle")
    yield _text(unit, 4, 12)
    yield _text("s", WIDTH - _RIGHT + 8, HEIGHT - 8)


def _line(
    scale: _Scale, name: str, line: Points, number: int
) -> tuple[etree._Element, etree._Element]:
    colour = _COLOURS[number % len(_COLOURS)]
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in (scale.place(*point) for point in line))
    return (
        _E.polyline({"stroke-width": "1.5"}, points=places, fill="none", stroke=colour),
        _text(name, WIDTH - _RIGHT + 24, _TOP + 10 + 15 * number, fill=colour),
    )


def _text(
    text: str, x: float, y: float, *, anchor: str = "start", fill: str | None = None
) -> etree._Element:
    style = {"text-anchor": anchor, "font-size": "11", "font-family": "sans-serif"}
    if fill is None:
        style |= {"class": "axis"}  # the page has its colour
    return _E.text(style, text, x=_at(x), y=_at(y), fill=fill or "#777")


def _at(place: float) -> str:
    return f"{place:.1f}"
