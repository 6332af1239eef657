# SPDX-License-Identifier: GPL-2.0-only
"""The dashboard and the alerts use only metrics that a pool has, and the manual lists them all.

That a real Prometheus understands them is in tests/integration/deploy/test_monitoring.py.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dashboards
from metric_families import Family, families

DOCS = Path(__file__).parents[3] / "docs"
METRICS = (DOCS / "reference/metrics.md").read_text()
ALERTS = (DOCS / "how-to/monitor-with-prometheus.md").read_text()


@pytest.fixture(scope="module")
def metrics() -> dict[str, Family]:
    return families()


@pytest.fixture(scope="module")
def series(metrics: dict[str, Family]) -> set[str]:
    return {name for family in metrics.values() for name in family.series}


def rows() -> dict[str, Family]:
    """Return the metrics that the manual lists."""
    found = {}
    for line in METRICS.splitlines():
        if line.startswith("| `latent_libvirt_"):
            name, type_, labels, _unit, _meaning = (
                cell.strip(" `") for cell in line[1:-1].split("|")
            )
            found[name] = Family(
                name, type_, frozenset({"pool", *re.findall(r"\w+", labels)}), frozenset()
            )
    return found


def test_the_manual_lists_every_metric_and_no_other(metrics: dict[str, Family]) -> None:
    assert sorted(rows()) == sorted(metrics)


def test_metrics_have_the_types_and_labels_that_the_manual_lists(
    metrics: dict[str, Family],
) -> None:
    for name, row in rows().items():
        assert (name, row.type, row.labels) == (name, metrics[name].type, metrics[name].labels)


def test_the_manual_lists_every_alert() -> None:
    listed = re.findall(r"^\| `(LatentLibvirt\w+)` \|", ALERTS, re.MULTILINE)

    assert listed == [name for name, _ in dashboards.alerts()]


def test_the_dashboard_is_what_its_source_says() -> None:
    source = dashboards.DEPLOY / "grafana/dashboard.py"
    made = subprocess.run([sys.executable, source], check=True, capture_output=True, text=True)

    assert made.stdout == dashboards.DASHBOARD.read_text()


def test_panels_ask_for_no_metric_that_is_not_there(series: set[str]) -> None:
    for title, expression in dashboards.panel_queries():
        assert dashboards.metrics_in(expression), title
        assert dashboards.metrics_in(expression) <= series, title


def test_the_dashboard_shows_every_metric(metrics: dict[str, Family]) -> None:
    queries = " ".join(expression for _, expression in dashboards.panel_queries())
    asked = dashboards.metrics_in(queries)
    unshown = {name for name, family in metrics.items() if not family.series & asked}

    assert unshown == {"latent_libvirt_config_last_reload_success_timestamp_seconds"}


def test_variables_take_their_values_from_metrics_that_are_there(
    metrics: dict[str, Family],
) -> None:
    for name, selector, label in dashboards.variable_queries():
        (metric,) = dashboards.metrics_in(selector)
        assert label == "instance" or label in metrics[metric].labels, name


def test_alerts_use_no_metric_that_is_not_there(series: set[str]) -> None:
    for name, expression in dashboards.alerts():
        assert dashboards.metrics_in(expression) <= series, name


def test_every_panel_has_its_own_number_and_its_own_place() -> None:
    panels: list[dict[str, Any]] = dashboards.dashboard()["panels"]
    cells = [
        (x, y)
        for panel in panels
        for g in [panel["gridPos"]]
        for x in range(g["x"], g["x"] + g["w"])
        for y in range(g["y"], g["y"] + g["h"])
    ]

    assert sorted(panel["id"] for panel in panels) == list(range(1, len(panels) + 1))
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_every_query_goes_to_the_data_source_that_is_chosen() -> None:
    text = json.dumps(dashboards.dashboard())

    assert set(re.findall(r'"uid": "([^"]*)"', text)) == {"${datasource}", "latent-libvirt"}
