# SPDX-License-Identifier: GPL-2.0-only
"""What ``deploy/`` asks Prometheus: the queries of the dashboard and of the alert rules."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = DEPLOY / "grafana/latent-libvirt.json"
RULES = DEPLOY / "prometheus/latent-libvirt.rules.yml"

_MACROS = {"$__rate_interval": "5m", "$__range": "1h", "$__interval": "1m"}


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return loaded


def panel_queries() -> Iterator[tuple[str, str]]:
    """Yield the title of each panel with each of its queries, as Grafana sends them for "All"."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], as_sent(target["expr"])


def variable_queries() -> Iterator[tuple[str, str, str]]:
    """Yield each variable's name, the series that it looks at, and the label that it wants."""
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            query = variable["query"]["query"]
            match = re.fullmatch(r"label_values\((.*),\s*(\w+)\)", query)
            assert match is not None, query
            yield variable["name"], as_sent(match[1]), match[2]


def alerts() -> Iterator[tuple[str, str]]:
    """Yield the name and the expression of each alert."""
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


def as_sent(expression: str) -> str:
    """Return an expression with its variables filled in."""
    for macro, value in _MACROS.items():
        expression = expression.replace(macro, value)
    return re.sub(r"\$\w+", ".*", expression)


def metrics_in(expression: str) -> set[str]:
    """Return the names of the metrics that an expression asks for."""
    return set(re.findall(r"\blatent_libvirt_\w+", expression))
