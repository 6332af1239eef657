# SPDX-License-Identifier: GPL-2.0-only
"""Prints ``latent-libvirt.json``, the Grafana dashboard, in the order of an operator's questions.

::

    python deploy/grafana/dashboard.py > deploy/grafana/latent-libvirt.json

Edit this rather than the JSON. The objects are those of Grafana's own SDK, which knows their
schema.
"""

from __future__ import annotations

import itertools
import json
from typing import Any, Final, TypeVar

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    GraphDrawStyle,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")

POOL: Final = 'instance=~"$instance",pool=~"$pool"'
HOST: Final = f'{POOL},host=~"$host"'
LABEL: Final = f'{POOL},label=~"$label"'

WIDTH: Final = 24
"""Columns of Grafana's grid."""

HEIGHT: Final = 8

PanelBuilder = TypeVar("PanelBuilder", statetimeline.Panel, timeseries.Panel)
Queries = dict[str, str]
"""What to ask, by how each series is called."""


def main() -> None:
    """Print the dashboard."""
    print(json.dumps(latent_libvirt().build(), cls=JSONEncoder, indent=2, sort_keys=True))


def latent_libvirt() -> dashboard.Dashboard:
    """Return the dashboard."""
    board = (
        dashboard.Dashboard("latent_libvirt")
        .uid("latent-libvirt")
        .description("The VMs of Buildbot masters with latent_libvirt.")
        .tags(["buildbot", "libvirt"])
        .editable()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
    )
    for variable in variables():
        board.with_variable(variable)
    number = itertools.count(1)
    for title, panels in {
        "Is anything broken?": broken(),
        "Why do jobs wait?": waiting(),
        "Where does the time go?": time(),
        "Which host?": hosts(),
    }.items():
        board.with_row(dashboard.Row(title).id(next(number)))
        for panel in panels:
            board.with_panel(panel.id(next(number)))
    return board


def variables() -> list[Any]:
    """Return what can be chosen at the top."""
    within = 'instance=~"$instance",pool=~"$pool"'
    return [
        dashboard.DatasourceVariable("datasource").type("prometheus").label("Data source"),
        choice("instance", "Master", "latent_libvirt_info"),
        choice("pool", "Pool", 'latent_libvirt_info{instance=~"$instance"}'),
        choice("host", "Host", f"latent_libvirt_host_usable{{{within}}}"),
        choice("label", "Label", f"latent_libvirt_label_max_vms{{{within}}}"),
    ]


def choice(name: str, title: str, series: str) -> dashboard.QueryVariable:
    """Return a variable whose values are those of a label of *series*.

    "All" also stands for what has no host, or no label that is known.
    """
    return (
        dashboard.QueryVariable(name)
        .label(title)
        .datasource(SOURCE)
        .query({"query": f"label_values({series},{name})", "refId": "Prometheus"})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".*")
        .current(VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def broken() -> list[Any]:
    """Return the panels that should be green."""
    return [
        number("Pools that answer", f"count(latent_libvirt_info{{{POOL}}})", red_below=1),
        number("Hosts not usable", f"sum(1 - latent_libvirt_host_usable{{{HOST}}})"),
        number(
            "pool.yaml refused", f"sum(1 - latent_libvirt_config_last_reload_successful{{{POOL}}})"
        ),
        number("Failures in 1 h", f"sum(increase(latent_libvirt_failures_total{{{HOST}}}[1h]))"),
        number("Leaks in 1 h", f"sum(increase(latent_libvirt_leaks_total{{{HOST}}}[1h]))"),
        number(
            "Oldest request",
            f"max(latent_libvirt_waiting_oldest_seconds{{{LABEL}}})",
            unit="s",
            red_from=3600,
        ),
        states(
            "Hosts",
            {"{{host}}": f"min by (instance, pool, host) (latent_libvirt_host_usable{{{HOST}}})"},
        ),
        lines(
            "Failures by who has to act",
            {
                "{{reason}}": "sum by (reason) "
                f"(increase(latent_libvirt_failures_total{{{HOST}}}[$__rate_interval]))"
            },
            bars=True,
        ),
    ]


def waiting() -> list[Any]:
    """Return the panels about demand and room."""
    return [
        lines(
            "Waiting requests by label",
            {"{{label}}": f"sum by (label) (latent_libvirt_waiting_requests{{{LABEL}}})"},
            stacked=True,
        ),
        lines(
            "Age of the oldest request by label",
            {"{{label}}": f"max by (label) (latent_libvirt_waiting_oldest_seconds{{{LABEL}}})"},
            unit="s",
        ),
        lines(
            "What holds waiting requests",
            {"{{reason}}": f"sum by (reason) (latent_libvirt_waiting_because{{{POOL}}})"},
            stacked=True,
        ),
        lines(
            "VMs of the pool",
            {
                "used": f"sum(latent_libvirt_used_vms{{{POOL}}})",
                "max_vms": f"sum(latent_libvirt_max_vms{{{POOL}}})",
            },
        ),
        lines(
            "VMs by state",
            {"{{state}}": f"sum by (state) (latent_libvirt_label_vms{{{LABEL}}})"},
            stacked=True,
        ),
        lines(
            "Slots by state",
            {"{{state}}": f"sum by (state) (latent_libvirt_host_slots{{{HOST}}})"},
            stacked=True,
        ),
        lines(
            "Labels with room for one more VM",
            {"{{label}}": f"sum by (label) (latent_libvirt_label_room{{{LABEL}}})"},
        ),
        lines(
            "How much of its max_vms each label uses",
            {
                "{{label}}": f"sum by (label) (latent_libvirt_label_used_vms{{{LABEL}}})"
                f" / sum by (label) (latent_libvirt_label_max_vms{{{LABEL}}} > 0)"
            },
            unit="percentunit",
        ),
        lines(
            "Labels and configurations changed by hand",
            {
                "{{label}} is drained": f"max by (label) (latent_libvirt_label_drained{{{LABEL}}})"
                " > 0",
                "new configurations": "sum(changes("
                f"latent_libvirt_config_generation{{{POOL}}}[$__rate_interval]))",
            },
        ),
    ]


def time() -> list[Any]:
    """Return the panels about durations."""
    started = f"latent_libvirt_vm_startup_duration_seconds_bucket{{{LABEL}}}"
    built = f"latent_libvirt_build_duration_seconds_bucket{{{LABEL}}}"
    hits, misses = (
        f"sum(rate(latent_libvirt_spare_{what}_total{{{LABEL}}}[$__rate_interval]))"
        for what in ("hits", "misses")
    )
    return [
        lines("Start-up by the way", quantiles(started, "way"), unit="s"),
        lines("Start-up by label, 95 %", quantiles(started, "label", (0.95,)), unit="s"),
        lines(
            "Phases of a VM's life, on average",
            {"{{phase}}": mean("latent_libvirt_vm_phase_duration_seconds", HOST, "phase")},
            unit="s",
            stacked=True,
        ),
        lines(
            "Builds served by a spare",
            {"of those that could": f"{hits} / ({hits} + {misses})"},
            unit="percentunit",
        ),
        lines("Builds by label, 95 %", quantiles(built, "label", (0.95,)), unit="s"),
        lines(
            "Trials of images that ended",
            {
                "{{image}}: {{outcome}}": "sum by (image, outcome) "
                f"(increase(latent_libvirt_image_trials_total{{{POOL}}}[$__rate_interval])) > 0"
            },
            bars=True,
        ),
        lines(
            "VMs started and ended",
            {
                "started": "sum(increase("
                f'latent_libvirt_vms_started_total{{{LABEL},host=~"$host"}}[$__rate_interval]))',
                "ended": "sum(increase("
                f'latent_libvirt_vms_ended_total{{{LABEL},host=~"$host"}}[$__rate_interval]))',
            },
            bars=True,
        ),
    ]


def hosts() -> list[Any]:
    """Return the panels that compare hosts."""
    calls = "latent_libvirt_libvirt_call_duration_seconds"
    return [
        lines(
            "Boot by host, on average",
            {
                "{{host}}": mean(
                    "latent_libvirt_vm_phase_duration_seconds", f'{HOST},phase="boot"', "host"
                )
            },
            unit="s",
        ),
        lines(
            "Calls of libvirt by host, 95 %",
            quantiles(f"{calls}_bucket{{{HOST}}}", "host", (0.95,)),
            unit="s",
        ),
        lines(
            "Calls of libvirt that failed",
            {
                "{{host}}: {{operation}}, {{outcome}}": "sum by (host, operation, outcome) "
                f'(increase({calls}_count{{{HOST},outcome!="ok"}}[$__rate_interval])) > 0'
            },
            bars=True,
        ),
        lines(
            "Calls of libvirt by operation, on average",
            {"{{operation}}": mean(calls, HOST, "operation")},
            unit="s",
        ),
        states(
            "Connections",
            {
                "{{host}}": "min by (instance, pool, host) "
                f"(latent_libvirt_host_connected{{{HOST}}})"
            },
        ),
        lines(
            "Connections lost",
            {
                "{{host}}": "sum by (host) (increase("
                f"latent_libvirt_host_connection_losses_total{{{HOST}}}[$__rate_interval]))"
            },
            bars=True,
        ),
        lines(
            "Failures by host",
            {
                "{{host}}: {{reason}}": "sum by (host, reason) "
                f"(increase(latent_libvirt_failures_total{{{HOST}}}[$__rate_interval])) > 0"
            },
            bars=True,
        ),
        lines(
            "Saved states, and the space for them",
            {
                "{{host}}": f"sum by (host) (latent_libvirt_host_saved_state_bytes{{{HOST}}})",
                "{{host}}: at most": "min by (host) "
                f"(latent_libvirt_host_saved_state_space_bytes{{{HOST}}})",
            },
            unit="bytes",
        ),
        lines(
            "Memory of VMs, and of their hosts",
            {
                "{{host}}": f"max by (host) (latent_libvirt_host_domains_memory_bytes{{{HOST}}})",
                "{{host}}: shared": "max by (host) "
                f"(latent_libvirt_host_shared_memory_bytes{{{HOST}}})",
                "{{host}}: at most": f"max by (host) (latent_libvirt_host_memory_bytes{{{HOST}}})",
            },
            unit="bytes",
        ),
        lines(
            "Domains of all owners by host",
            {"{{host}}": f"max by (host) (latent_libvirt_host_domains{{{HOST}}})"},
        ),
        lines(
            "VMs saved, and states thrown away",
            {
                "{{host}}": "sum by (host) "
                f"(increase(latent_libvirt_vms_saved_total{{{HOST}}}[$__rate_interval]))",
                "{{host}}: thrown away": "sum by (host) (increase("
                f"latent_libvirt_saved_states_rejected_total{{{HOST}}}[$__rate_interval]))",
            },
            bars=True,
        ),
        lines(
            "VMs by host",
            {"{{host}}: {{state}}": f"sum by (host, state) (latent_libvirt_host_vms{{{HOST}}})"},
            stacked=True,
        ),
    ]


def quantiles(buckets: str, by: str, of: tuple[float, ...] = (0.5, 0.95)) -> Queries:
    """Return queries for quantiles of a histogram, by a label."""
    within = f"sum by (le, {by}) (rate({buckets}[$__rate_interval]))"
    return {
        f"{{{{{by}}}}}, {quantile * 100:g} %": f"histogram_quantile({quantile}, {within})"
        for quantile in of
    }


def mean(histogram: str, selector: str, by: str) -> str:
    """Return a query for the mean of a histogram, by a label."""
    total, count = (
        f"sum by ({by}) (rate({histogram}_{part}{{{selector}}}[$__rate_interval]))"
        for part in ("sum", "count")
    )
    return f"{total} / {count}"


def number(
    title: str,
    expression: str,
    *,
    unit: str = "short",
    red_from: float = 1,
    red_below: float | None = None,
) -> stat.Panel:
    """Return a number that is green or red."""
    colours = ("green", "red") if red_below is None else ("red", "green")
    return (
        stat.Panel()
        .title(title)
        .datasource(SOURCE)
        .span(WIDTH // 6)
        .height(HEIGHT // 2)
        .unit(unit)
        .decimals(0)
        .no_value("0")
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .graph_mode(BigValueGraphMode.NONE)
        .color_mode(BigValueColorMode.BACKGROUND)
        .thresholds(steps(*colours, at=red_from if red_below is None else red_below))
        .with_target(query("", expression).instant())
    )


def states(title: str, queries: Queries) -> statetimeline.Panel:
    """Return bars over time that are green while something is well."""
    words = {
        "0": ValueMappingResult(text="down", color="red", index=0),
        "1": ValueMappingResult(text="up", color="green", index=1),
    }
    panel = (
        statetimeline.Panel()
        .title(title)
        .datasource(SOURCE)
        .span(WIDTH // 2)
        .height(HEIGHT)
        .show_value(VisibilityMode.NEVER)
        .row_height(0.8)
        .mappings([ValueMap(options=words)])
        .thresholds(steps("red", "green", at=1))
    )
    return with_queries(panel, queries)


def lines(
    title: str,
    queries: Queries,
    *,
    unit: str = "short",
    stacked: bool = False,
    bars: bool = False,
) -> timeseries.Panel:
    """Return a graph."""
    panel = (
        timeseries.Panel()
        .title(title)
        .datasource(SOURCE)
        .span(WIDTH // 2)
        .height(HEIGHT)
        .unit(unit)
        .min(0)
        .fill_opacity(50 if stacked or bars else 0)
        .draw_style(GraphDrawStyle.BARS if bars else GraphDrawStyle.LINE)
        .stacking(
            common.StackingConfig().mode(
                StackingMode.NORMAL if stacked or bars else StackingMode.NONE
            )
        )
        .legend(
            common.VizLegendOptions()
            .show_legend(show_legend=True)
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
        )
        .tooltip(
            common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
        )
    )
    return with_queries(panel, queries)


def with_queries(panel: PanelBuilder, queries: Queries) -> PanelBuilder:
    """Let *panel* show what *queries* return."""
    for ref, (legend, expression) in zip("ABCDEF", queries.items(), strict=False):
        panel.with_target(query(legend, expression).ref_id(ref).range())
    return panel


def query(legend: str, expression: str) -> prometheus.Dataquery:
    """Return a query, whose series are called *legend*."""
    return (
        prometheus.Dataquery().datasource(SOURCE).expr(expression).legend_format(legend).ref_id("A")
    )


def steps(below: str, above: str, *, at: float) -> dashboard.ThresholdsConfig:
    """Return one colour below a value, and another from it on."""
    return (
        dashboard.ThresholdsConfig()
        .mode(ThresholdsMode.ABSOLUTE)
        .steps([Threshold(value=None, color=below), Threshold(value=at, color=above)])
    )


if __name__ == "__main__":
    main()
