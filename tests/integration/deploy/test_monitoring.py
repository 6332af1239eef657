# SPDX-License-Identifier: GPL-2.0-only
"""What ``deploy/`` has for operators, with a real Prometheus that scrapes a real pool.

Grafana itself cannot be had here. That its dashboard keeps to Grafana's schema is in
the SDK that it is made with; here, every query that it would send is sent.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

import dashboards
import prometheus
from buildmaster import BuildMaster, free_port, wait_for
from lab import Lab
from latent_libvirt.host.names import Owner
from pools import UNTIL_TOLD, MakeMaster, PoolSettings, go_on
from prometheus import Prometheus

ALL_IS_WELL = {
    "Builds served by a spare",
    "Calls of libvirt that failed",
    "Domains of all owners by host",
    "Failures by host",
    "Labels and configurations changed by hand",
    "Memory of VMs, and of their hosts",
    "Saved states, and the space for them",
    "Trials of images that ended",
}
"""Panels that may have nothing to show then.

Nothing has failed or changed, VMs are booted, and meters may not have been read yet.
"""

RULES_TEST = Path(__file__).with_name("latent-libvirt.rules.test.yml")


class Scraped:
    """What a pool tells, asked without Prometheus."""

    def __init__(self, where: str) -> None:
        self._where = where

    def text(self) -> str:
        with urllib.request.urlopen(f"http://{self._where}/metrics", timeout=60) as answer:
            return str(answer.read(), "utf-8")

    def value(self, name: str, **labels: str) -> float | None:
        """Return the sum of the samples of that name that have these labels."""
        found = [
            sample.value
            for family in text_string_to_metric_families(self.text())
            for sample in family.samples
            if sample.name == f"latent_libvirt_{name}" and labels.items() <= sample.labels.items()
        ]
        return sum(found) if found else None

    def is_refused(self) -> bool:
        try:
            self.text()
        except OSError:
            return True
        return False


@pytest.fixture
def where() -> str:
    return f"127.0.0.1:{free_port()}"


@pytest.fixture
def scraped(where: str) -> Scraped:
    return Scraped(where)


@pytest.fixture
def master(make_master: MakeMaster, where: str) -> BuildMaster:
    return make_master(UNTIL_TOLD, settings=PoolSettings(metrics=where))


@pytest.fixture
def watching(tmp_path: Path, cache: Path, where: str) -> Iterator[Prometheus]:
    directory = tmp_path / "prometheus"
    rules = [dashboards.RULES]
    with prometheus.running(directory, cache=cache, target=where, rules=rules) as running:
        yield running


def leases(master: BuildMaster) -> list[dict[str, Any]]:
    """Return the reports that an observer of the pool has written down."""
    path = master.directory / "leases.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_alerts_ring_when_they_should_and_not_else(tmp_path: Path, cache: Path) -> None:
    promtool = prometheus.programs(cache) / "promtool"
    shutil.copy(dashboards.RULES, tmp_path / "rules.yml")
    shutil.copy(RULES_TEST, tmp_path / "test.yml")

    for command in (["check", "rules", "rules.yml"], ["test", "rules", "test.yml"]):
        result = subprocess.run(
            [promtool, *command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout + result.stderr


def test_two_builds_leave_the_right_numbers_and_every_panel_of_the_dashboard_shows_them(
    lab: Lab, master: BuildMaster, scraped: Scraped, watching: Prometheus
) -> None:
    jobs = [master.force(), master.force()]
    label, host = {"label": "debian-12"}, {"host": "here"}

    wait_for("a VM that builds", lambda: scraped.value("label_vms", **label, state="building"))
    wait_for(
        "the other request to be seen", lambda: scraped.value("waiting_requests", **label) == 1
    )
    assert scraped.value("host_slots", **host, state="used") == 1
    assert (scraped.value("waiting_oldest_seconds", **label) or 0) > 0
    go_on(master)
    assert [master.wait_for_result(job) for job in jobs] == ["SUCCESS", "SUCCESS"]
    wait_for("both VMs to end", lambda: scraped.value("vms_ended_total") == 2)
    wait_for("the queue to be empty", lambda: scraped.value("waiting_requests", **label) == 0)

    assert scraped.value("vms_started_total", **label, **host) == 2
    assert scraped.value("host_slots", **host, state="free") == 2
    assert scraped.value("host_usable", **host) == 1
    assert scraped.value("failures_total") == 0
    assert scraped.value("leaks_total") == 0
    assert scraped.value("config_last_reload_successful") == 1
    assert scraped.value("vm_startup_duration_seconds_count", **label, way="cold") == 2
    reports = leases(master)
    for phase in ("clone", "boot", "assign", "attach"):
        seconds = sum(report["phases"][phase] for report in reports)
        told = scraped.value("vm_phase_duration_seconds_sum", **host, phase=phase)
        assert told == pytest.approx(seconds), phase
    built = sum(report["phases"]["build"] for report in reports)
    assert scraped.value("build_duration_seconds_sum", **label) == pytest.approx(built)
    for operation in ("create_overlay", "start_domain", "destroy"):
        call = {"operation": operation, "outcome": "ok"}
        assert scraped.value("libvirt_call_duration_seconds_count", **host, **call) == 2

    wait_for(
        "Prometheus to know it",
        lambda: watching.query("sum(latent_libvirt_vms_ended_total) == 2"),
    )
    for title, expression in dashboards.panel_queries():
        assert watching.query(expression) or title in ALL_IS_WELL, (title, expression)
    for name, selector, wanted in dashboards.variable_queries():
        assert {series.get(wanted) for series in watching.series(selector)} - {None}, name
    assert watching.alerts() == {}


def test_what_goes_wrong_shows_and_metrics_move_when_the_file_says_so(
    lab: Lab, master: BuildMaster, where: str, scraped: Scraped, watching: Prometheus
) -> None:
    wait_for("the first sweep", lambda: scraped.value("host_usable") == 1)
    (name,) = [m["name"] for m in master.get("masters")]
    lab.leave_overlay(Owner(name, "latent_libvirt"))
    wait_for("it to be freed", lambda: scraped.value("leaks_total", kind="overlay") == 1)
    assert scraped.value("leaks_total", kind="domain") == 0

    pool = master.directory / "pool.yaml"
    good = pool.read_text()
    generation = scraped.value("config_generation")
    pool.write_text(good.replace("max_vms: 1,", "max_vms: one,"))
    wait_for("the refusal", lambda: scraped.value("config_last_reload_successful") == 0)
    assert scraped.value("config_generation") == generation
    wait_for(
        "the alert", lambda: watching.alerts().get("LatentLibvirtConfigurationRefused") == "pending"
    )

    elsewhere = f"127.0.0.1:{free_port()}"
    pool.write_text(good.replace(where, elsewhere))
    wait_for("the old address to be left", scraped.is_refused)
    moved = Scraped(elsewhere)
    wait_for("the new address", lambda: not moved.is_refused())
    assert moved.value("config_last_reload_successful") == 1
    assert moved.value("config_generation") == (generation or 0) + 1
    assert moved.value("leaks_total", kind="overlay") == 1
