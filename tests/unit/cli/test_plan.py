# SPDX-License-Identifier: GPL-2.0-only
"""``latent-libvirt plan``: loads from options and files, figures from reports, and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from latent_libvirt.cli import main
from latent_libvirt.stress.sizing.costs import SHIPPED
from latent_libvirt.stress.sizing.models import Load
from latent_libvirt.stress.sizing.work import DEPLOYED
from steady_run import write

LOAD = ("--jobs-per-hour", "600", "--job-time", "10m")


def run(*arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(main, ["plan", *arguments])
    assert result.exit_code == status, result.output
    return result.output


def answer(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(*arguments, "--json"))
    return found


def test_the_answer_begins_with_words_and_has_tables() -> None:
    output = run("--jobs-per-hour", "2000", "--job-time", "10m")

    assert "Another interface master pays above" in output
    assert "saturate first" in output
    assert "INTERFACE MASTERS" in output
    assert "Costs: the stress harness on" in output


def test_json_has_the_answer_and_its_numbers() -> None:
    found = answer(*LOAD)

    assert found["interface_masters"] == 1
    assert found["slots"]["count"] > found["slots"]["busy"]
    assert found["answer"][0].endswith(".")
    assert found["full_at"]["interface"] > 600


def test_every_key_of_a_load_has_an_option() -> None:
    output = run("--help")

    assert all(f"--{name.replace('_', '-')}" in output for name in Load.model_fields)


def test_an_option_comes_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "load.yaml"
    file.write_text("jobs_per_hour: 600\njob_time: 10m\nvm_memory: 4GiB\nstart: booted\n")

    of_file, more = answer(str(file)), answer(str(file), "--jobs-per-hour", "6000")

    assert more["slots"]["busy"] == pytest.approx(10 * of_file["slots"]["busy"])
    assert more["slots"]["of_a_host"] == of_file["slots"]["of_a_host"]


def test_a_number_that_is_much_too_long_is_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "load.yaml"
    file.write_text(f"jobs_per_hour: {'9' * 6000}\njob_time: 10m\n")

    output = run(str(file), status=1)

    assert "9… is too large; write at most 10000000" in output
    assert len(output) < 500


def test_a_mistake_in_a_file_is_reported_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "load.yaml"
    file.write_text("jobs_per_hour: 600\njob_time: 10m\nreaders: many\nvm_memroy: 4GiB\n")

    output = run(str(file), status=1)

    assert ":3:10: readers: the text 'many' where a whole number belongs" in output
    assert ":4:1: vm_memroy: unknown key; did you mean 'vm_memory'?" in output


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--job-time", "10"), "the duration 10 has no unit"),
        (("--jobs-per-hour", "0"), "greater than or equal to"),
        (("--jobs-per-hour", "[1"), "is no value"),
        (("--jobs-per-hour", "2025-13-45"), "Input should be a valid number"),
        (("--jobs-per-hour", "!!int x"), "is no value"),
        (("--jobs-per-hour", "!!timestamp x"), "is no value"),
        (("--jobs-per-hour", "&a [*a]"), "is no value"),
        (("--jobs-per-hour", "[" * 3000), "is no value"),
        (("--jobs-per-hour", "\udcff"), "is no value"),
        (("--jobs-per-hour", "1\0"), "is no value"),
        (("--readers", "2.5"), "valid integer"),
        (("--jobs-per-hour", ".nan"), "--jobs-per-hour"),
        ((*LOAD, "--check", "."), "--check takes the load of its report."),
        (("--job-time", "10m"), "Give a load file, or --jobs-per-hour and --job-time."),
    ],
)
def test_wrong_usage_names_the_option(arguments: tuple[str, ...], problem: str) -> None:
    assert problem in run(*arguments, status=2)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--vm-memory", "1TiB"), "does not fit on a host; give hosts more, or VMs less"),
        (("--jobs-per-hour", "10000000"), "which is out of reach; write fewer or shorter jobs"),
    ],
)
def test_values_that_do_not_fit_together_are_refused(
    arguments: tuple[str, ...], problem: str
) -> None:
    assert problem in run(*LOAD, *arguments, status=1)


def test_figures_of_a_report_take_the_place_of_those_that_are_shipped(tmp_path: Path) -> None:
    slower = SHIPPED.scaled(dict.fromkeys((*DEPLOYED, "harness"), 3.0), "a slower machine")
    write(tmp_path, slower, machine=16)

    shipped, measured = answer(*LOAD), answer(*LOAD, "--figures", str(tmp_path))

    ratio = measured["single_master"]["used"] / shipped["single_master"]["used"]
    assert ratio == pytest.approx(3, rel=0.1)
    assert measured["costs"] == f"measured by the run in {tmp_path}"


def test_a_check_compares_what_is_predicted_with_what_was_seen(tmp_path: Path) -> None:
    write(tmp_path, SHIPPED)

    output = run("--check", str(tmp_path))

    assert "2 interface masters, 100 slots and the harness on 4 processors" in output
    assert "PREDICTED" in output
    assert "too far" not in output
    assert "Other programs" not in output


def test_other_programs_are_said_to_have_been_busy(tmp_path: Path) -> None:
    write(tmp_path, SHIPPED, others=2.5)

    assert "Other programs used 2.5 cores." in run("--check", str(tmp_path))


def test_a_prediction_that_is_too_far_ends_with_status_1(tmp_path: Path) -> None:
    slower = SHIPPED.scaled(dict.fromkeys((*DEPLOYED, "harness"), 3.0), "a slower machine")
    write(tmp_path, slower, machine=16)

    assert json.loads(run("--check", str(tmp_path), "--json", status=1))["good"] is False


def test_a_report_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    write(tmp_path, SHIPPED)
    (tmp_path / "raw/queue.jsonl").write_text("")

    assert "cannot be read" in run("--check", str(tmp_path), status=1)


@pytest.mark.parametrize(
    ("text", "problem"),
    [(None, "has no raw data of a run"), ("{", "cannot be read"), ("[]", "cannot be read")],
)
def test_a_directory_that_is_no_report_is_refused(
    tmp_path: Path, text: str | None, problem: str
) -> None:
    if text is not None:
        (tmp_path / "raw").mkdir()
        (tmp_path / "raw/run.json").write_text(text)

    assert problem in run("--check", str(tmp_path), status=1)
