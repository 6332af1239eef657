# SPDX-License-Identifier: GPL-2.0-only
"""Reports: figures from raw data, and a page that loads nothing from elsewhere."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from lxml import html

from latent_libvirt.stress.measure.raw import append, rows
from latent_libvirt.stress.report.data import RAW, Run, read
from latent_libvirt.stress.report.figures import figures
from latent_libvirt.stress.report.summary import report

BEGAN = 1_000_000.0


def lease(seconds: float, failure: str = "") -> dict[str, Any]:
    phases = {"boot": seconds, "attach": 0.1}
    return {"at": BEGAN, "way": "cold", "failure": failure, "phases": phases}


def post(number: int, error: str = "") -> dict[str, Any]:
    return {"at": BEGAN, "uuid": f"{number}", "late": 0.01, "seconds": 0.1, "error": error}


ROWS: dict[str, list[dict[str, Any]]] = {
    "posts": [post(1), post(2), post(3), post(4, "no")],
    "jobs": [
        {"uuid": "1", "submitted_at": BEGAN, "complete_at": BEGAN + 9, "results": 0},
        {"uuid": "2", "submitted_at": BEGAN, "complete_at": BEGAN + 9, "results": 2},
        {"uuid": "3", "submitted_at": BEGAN, "complete_at": None, "results": -1},
    ],
    "queue": [
        {"at": BEGAN + n, "unfinished": 10 - n, "waiting": 4 - n, "finished": n, "age": float(n)}
        for n in range(5)
    ],
    "processes": [
        {"at": BEGAN + n, "process": name, "cores": cores, "memory": 2**20 * n}
        for n in range(5)
        for name, cores in (("single", 0.5), ("machine", 1.5))
    ],
    "database": [{"at": BEGAN + n, "seconds": 0.2 * n, "calls": n} for n in (0, 5, 10)],
    "statements": [{"query": "SELECT 1 < 2", "calls": 5, "seconds": 0.1, "rows": 5}],
    "web": [
        {"at": BEGAN + n, "kind": kind, "seconds": 0.1 * n, "bytes": 1, "status": 200, "error": ""}
        for n in range(10)
        for kind in ("ui", "rest")
    ],
    "reactor-single": [{"at": BEGAN + n, "mean": 0.001, "max": 0.01 * n} for n in range(5)],
    "leases-single": [lease(0.4), lease(0.6), lease(9.0, "no image")],
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / RAW).mkdir()
    run = Run(BEGAN, BEGAN + 60, 2, 20, 4, ("single",), profile="within: <1m>")
    (tmp_path / RAW / "run.json").write_text(json.dumps(asdict(run)))
    for name, some in ROWS.items():
        append(tmp_path / RAW / f"{name}.jsonl", some)
    return tmp_path


def test_figures_are_those_of_the_raw_data(directory: Path) -> None:
    found = figures(read(directory))

    assert found.finished == {"success": 1, "failure": 1}
    assert (found.lost, found.refused) == (1, 1)
    assert found.jobs_per_min == pytest.approx(2.0)
    assert found.load["single"].cores == pytest.approx(0.5)
    assert found.load["single"].memory == 4 * 2**20
    assert found.web["ui"].count == 10
    assert found.database_share == pytest.approx(0.2)
    assert found.starts["cold"]["boot"].most == 0.6
    assert found.failed_starts == 1
    assert found.busy_slots == pytest.approx(6 / 20)


def test_the_summary_has_what_programs_read(directory: Path) -> None:
    summary = report(directory)

    assert list(summary) == ["verdict", "saturated", "jobs_per_min", "web_p99_s", "report"]
    assert summary["saturated"] == "nothing"
    assert summary["web_p99_s"] == 0.9
    assert Path(summary["report"]).exists()


def test_the_page_loads_nothing_from_elsewhere(directory: Path) -> None:
    text = Path(report(directory)["report"]).read_text()

    page = html.fromstring(text)
    assert page.xpath("//script | //link | //img | //@src") == []
    assert all((directory / link).exists() for link in page.xpath("//@href"))
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)


def test_the_page_has_its_plots_and_escapes_what_it_shows(directory: Path) -> None:
    text = Path(report(directory)["report"]).read_text()

    assert text.count("<svg") == 8
    assert "SELECT 1 &lt; 2" in text
    assert "within: &lt;1m&gt;" in text


def test_a_run_of_which_nothing_is_known_has_a_report(tmp_path: Path) -> None:
    (tmp_path / RAW).mkdir()
    run = Run(BEGAN, BEGAN + 1, 2, 20, 4, ("single",))
    (tmp_path / RAW / "run.json").write_text(json.dumps(asdict(run)))

    assert report(tmp_path)["web_p99_s"] is None


def test_a_line_that_breaks_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append(path, [{"a": 1}])
    with path.open("a") as file:
        file.write('{"a": ')

    assert rows(path) == [{"a": 1}]
