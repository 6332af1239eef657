# SPDX-License-Identifier: GPL-2.0-only
"""Plots."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from lxml import etree

from latent_libvirt.stress.report.svg import HEIGHT, WIDTH, plot, rounded_up, thinned

POINTS = st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 1e6)), max_size=1000)


@given(POINTS)
@example([(0.0, 5e-324)])
def test_all_points_are_inside(points: list[tuple[float, float]]) -> None:
    root = etree.fromstring(plot({"a": points}, unit="s"))

    (line,) = root.findall("{*}polyline")
    for place in str(line.get("points")).split():
        x, y = map(float, place.split(","))
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT


@given(st.floats(1e-9, 1e9))
def test_a_scale_ends_at_a_round_number_that_is_large_enough(value: float) -> None:
    assert value <= rounded_up(value) <= 10 * value


@given(POINTS)
def test_a_thinned_line_keeps_its_peak(points: list[tuple[float, float]]) -> None:
    found = thinned(points)

    assert len(found) <= 500
    assert max((y for _, y in found), default=0) == max((y for _, y in points), default=0)


def test_names_are_text() -> None:
    assert "&lt;b&gt;" in plot({"<b>": [(0, 1)]}, unit="s")
