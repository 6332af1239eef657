# SPDX-License-Identifier: GPL-2.0-only
"""Comparisons of two reports, and forecasts: pure arithmetic on raw data."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from random import Random

import pytest
from lxml import html

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.stress.measure.raw import append
from latent_libvirt.stress.report.comparison import Figure, compare
from latent_libvirt.stress.report.comparison_page import page, text, verdict
from latent_libvirt.stress.report.data import RAW, Run, read
from latent_libvirt.stress.report.figures import figures
from latent_libvirt.stress.report.forecast import reached_at
from latent_libvirt.stress.report.numbers import Middle
from latent_libvirt.stress.report.verdict import verdict as verdict_on

BEGAN = 1_000_000.0
LENGTH = 100


def a_run(
    directory: Path, *, per_second: float = 2.0, cores: float = 0.4, web: float = 0.1, seed: int = 0
) -> Path:
    """Write the raw data of a run whose figures vary by a few per cent."""
    random = Random(seed)
    raw = directory / RAW
    raw.mkdir(parents=True)
    run = Run(BEGAN, BEGAN + LENGTH, 8, 100, 200, ("scheduler", "interface-1"), "within: 2m\n")
    (raw / "run.json").write_text(json.dumps(asdict(run)))
    for second in range(LENGTH):
        at, finished = BEGAN + second, round(per_second * second * random.uniform(0.99, 1.01), 2)
        vary = random.uniform(0.95, 1.05)
        queue = {"at": at, "unfinished": 30, "waiting": 5, "finished": finished, "age": 1.0}
        append(raw / "queue.jsonl", [queue])
        append(
            raw / "processes.jsonl",
            [
                {"at": at, "process": name, "cores": used * vary, "memory": 2**26}
                for name, used in (("scheduler", 0.1), ("interface-1", cores), ("machine", 1.0))
            ],
        )
        append(
            raw / "web.jsonl",
            [{"at": at, "kind": "ui", "seconds": web * vary, "error": "", "status": 200}],
        )
    return directory


def test_two_runs_of_the_same_have_not_changed(tmp_path: Path) -> None:
    found = compare(a_run(tmp_path / "a", seed=1), a_run(tmp_path / "b", seed=2))

    assert verdict(found) == "Nothing has changed beyond the noise."
    assert {figure.change for figure in found.figures} <= {"same", "unknown"}


def test_what_is_better_and_what_is_worse_is_said(tmp_path: Path) -> None:
    before = a_run(tmp_path / "a", seed=1)
    after = a_run(tmp_path / "b", per_second=4.0, web=0.5, seed=2)

    found = compare(before, after)

    assert "throughput" in {figure.name for figure in found.changed("better")}
    assert {"web: ui, median", "web: ui, 99 %"} <= {f.name for f in found.changed("worse")}
    assert "Better: throughput (" in verdict(found)
    assert "web: ui, median (5." in text(found)


def test_a_comparison_is_a_page_that_loads_nothing(tmp_path: Path) -> None:
    found = compare(a_run(tmp_path / "<a>"), a_run(tmp_path / "b", cores=0.8))

    shown = page(found)

    assert html.fromstring(shown).xpath("//script | //link | //img | //@src") == []
    assert "&lt;a&gt;" in shown
    assert "processor time of interface-1" in shown


def test_profiles_that_differ_are_shown(tmp_path: Path) -> None:
    before, after = a_run(tmp_path / "a"), a_run(tmp_path / "b")
    about = json.loads((after / RAW / "run.json").read_text())
    (after / RAW / "run.json").write_text(json.dumps(about | {"profile": "within: 3m\n"}))

    found = compare(before, after)

    assert found.differences == ("-within: 2m", "+within: 3m")
    assert verdict(found).startswith("The profiles differ")


@pytest.mark.parametrize("content", [None, "", "[]", "{", '{"began": 1}', "\x00"])
def test_a_directory_without_a_report_is_refused(tmp_path: Path, content: str | None) -> None:
    before = a_run(tmp_path / "a")
    (tmp_path / "b" / RAW).mkdir(parents=True)
    if content is not None:
        (tmp_path / "b" / RAW / "run.json").write_text(content)

    with pytest.raises(ConfigurationError, match="no report that can be read"):
        compare(before, tmp_path / "b")


def test_a_difference_within_the_spread_is_no_change() -> None:
    wide = Figure("x", "s", "less", Middle(10, 1.0, 0.2, 1.8), Middle(10, 1.5, 0.5, 2.5))

    assert wide.change == "same"


def test_a_few_windows_say_nothing() -> None:
    assert Figure("x", "s", "less", Middle(2, 1.0), Middle(20, 9.0)).change == "unknown"


def test_a_limit_is_forecast_from_the_cost_of_a_build() -> None:
    rates = dict.fromkeys(range(6), 100.0)
    used = dict(enumerate((0.40, 0.42, 0.44, 0.46, 0.48, 0.5)))

    found = reached_at(rates, used, 0.85)

    assert found is not None
    assert found.median == pytest.approx(100 * 0.85 / 0.45, rel=0.01)
    assert found.low < found.median < found.high


def test_nothing_follows_from_what_is_hardly_used() -> None:
    assert reached_at(dict.fromkeys(range(6), 100.0), dict.fromkeys(range(6), 0.01), 0.85) is None
    assert reached_at({0: 100.0}, {0: 0.5}, 0.85) is None


def test_the_verdict_says_at_which_load_and_when_another_master_pays(tmp_path: Path) -> None:
    data = read(a_run(tmp_path / "a", cores=0.6))

    found = verdict_on(data.run, figures(data)).text

    assert "interface-1 would be saturated at about 1" in found
    assert "Another interface master pays from there on." in found


def test_another_master_does_not_pay_while_something_else_is_nearer_to_its_limit(
    tmp_path: Path,
) -> None:
    data = read(a_run(tmp_path / "a", cores=0.1))

    found = verdict_on(data.run, figures(data)).text

    assert "Another interface master does not pay yet." in found


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ended": 1e400}, "ended before it began"),
        ({"began": float("nan")}, "ended before it began"),
        ({"ended": BEGAN - 1}, "ended before it began"),
        ({"future": 1}, r"another version of latent-libvirt \(future\)"),
        ({"masters": 3}, "lacks what it should have"),
    ],
)
def test_a_report_that_nobody_can_have_made_is_refused(
    tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    before, after = a_run(tmp_path / "a"), a_run(tmp_path / "b")
    about = json.loads((after / RAW / "run.json").read_text())
    (after / RAW / "run.json").write_text(json.dumps(about | change))

    with pytest.raises(ConfigurationError, match=reason):
        compare(before, after)


@pytest.mark.parametrize("text", ["{}", "[]", "nothing", "[" * 100_000])
def test_a_report_about_something_else_is_refused(tmp_path: Path, text: str) -> None:
    before, after = a_run(tmp_path / "a"), a_run(tmp_path / "b")
    (after / RAW / "run.json").write_text(text)

    with pytest.raises(ConfigurationError, match="has no report that can be read"):
        compare(before, after)


@pytest.mark.parametrize(
    "line", ["[" * 100_000, "[]", '{"at": NaN, "age": 1}', '{"at": 1e400}', '{"at": "x"}', "{}"]
)
def test_a_row_that_nobody_can_have_measured_is_refused(tmp_path: Path, line: str) -> None:
    before, after = a_run(tmp_path / "a"), a_run(tmp_path / "b")
    with (after / RAW / "queue.jsonl").open("a") as file:
        file.write(f"{line}\n")

    with pytest.raises(ConfigurationError, match="has no report that can be read"):
        compare(before, after)


@pytest.mark.parametrize("name", ["queue.jsonl", "run.json"])
def test_a_report_is_not_read_from_a_fifo(tmp_path: Path, name: str) -> None:
    before, after = a_run(tmp_path / "a"), a_run(tmp_path / "b")
    (after / RAW / name).unlink()
    os.mkfifo(after / RAW / name)

    with pytest.raises(ConfigurationError, match="not a regular file"):
        compare(before, after)


def test_runs_without_a_figure_in_common_are_not_compared(tmp_path: Path) -> None:
    before, after = a_run(tmp_path / "a"), a_run(tmp_path / "b")
    for file in (after / RAW).glob("*.jsonl"):
        file.write_text("")

    with pytest.raises(ConfigurationError, match="nothing can be compared"):
        compare(before, after)


def test_a_figure_that_only_one_run_has_is_no_ratio(tmp_path: Path) -> None:
    before, after = a_run(tmp_path / "a"), a_run(tmp_path / "b")
    (after / RAW / "queue.jsonl").unlink()

    (figure,) = (each for each in compare(before, after).figures if each.name == "throughput")

    assert figure.ratio is None
    assert figure.change == "unknown"


def test_runs_that_are_too_short_are_said_to_be(tmp_path: Path) -> None:
    before, after = a_run(tmp_path / "a"), a_run(tmp_path / "b")
    for file in (after / RAW).glob("*.jsonl"):
        file.write_text("".join(file.read_text().splitlines(keepends=True)[:6]))

    assert verdict(compare(before, after)).startswith("The runs are too short to be compared")
