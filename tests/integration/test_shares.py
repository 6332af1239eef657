# SPDX-License-Identifier: GPL-2.0-only
"""Shares of test files, with workers of pytest-xdist: each test runs once, also if one crashes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

SUPPORT = Path(__file__).parents[1] / "support"

CONFTEST = """
import os, pytest, shares

def pytest_addoption(parser):
    parser.addoption("--shares", action="store_true")

def pytest_sessionstart(session):
    shares.install(session)

@pytest.fixture(autouse=True)
def noted(request, worker_id):
    with open(os.environ["NOTES"], "a") as notes:
        print(worker_id, request.node.nodeid, file=notes)
"""

TESTS = """
import os, pytest

@pytest.mark.parametrize("number", range(3))
def test_passes(number):
    pass

def test_may_crash():
    if os.environ.get("CRASH") in __file__:
        os._exit(1)

def test_comes_afterwards():
    pass
"""

IN_A_FILE = 5
NAMES = ("one", "two", "three", "four")


def run(directory: Path, *arguments: str, crash: str = "no file") -> tuple[int, str]:
    """Run tests in two workers; return the exit code and what was printed."""
    (directory / "conftest.py").write_text(CONFTEST)
    (directory / "pytest.ini").write_text("[pytest]\ncache_dir = .pytest_cache\n")  # not tox's
    for name in NAMES:
        (directory / f"test_{name}.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "--numprocesses=2", "--shares", *arguments]
    environment = {"PYTHONPATH": str(SUPPORT), "NOTES": str(directory / "notes"), "CRASH": crash}
    done = subprocess.run(
        command,
        cwd=directory,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stdout


def notes(directory: Path) -> tuple[Counter[str], set[str]]:
    """Return how often each test has run, and in which workers."""
    lines = [line.split() for line in (directory / "notes").read_text().splitlines()]
    return Counter(test for _worker, test in lines), {worker for worker, _test in lines}


def test_each_test_runs_once_and_all_of_them_are_counted(tmp_path: Path) -> None:
    code, printed = run(tmp_path)
    times, workers = notes(tmp_path)

    assert code == 0, printed
    assert f"{len(NAMES) * IN_A_FILE} passed" in printed
    assert "[100%]" in printed
    assert set(times.values()) == {1}
    assert len(times) == len(NAMES) * IN_A_FILE
    assert workers == {"gw0", "gw1"}


def test_a_next_run_knows_the_seconds_of_each_file(tmp_path: Path) -> None:
    for _run in range(2):
        code, printed = run(tmp_path)
        assert code == 0, printed
    run(tmp_path, "-k", "passes")

    kept = json.loads((tmp_path / ".pytest_cache/v/shares/seconds").read_text())
    assert {Path(file).name for file in kept} == {f"test_{name}.py" for name in NAMES}
    assert set(notes(tmp_path)[0].values()) == {2, 3}


@pytest.mark.parametrize("named", ["test_two.py", "test_two.py::test_passes"])
def test_a_file_that_is_named_runs_in_one_worker(tmp_path: Path, named: str) -> None:
    code, printed = run(tmp_path, named)
    times, workers = notes(tmp_path)

    assert code == 0, printed
    assert len(times) == (3 if "::" in named else IN_A_FILE)
    assert set(times.values()) == {1}
    assert len(workers) == 1


@pytest.mark.parametrize("crash", ["test_one.py", "test_two.py"])
def test_a_worker_that_takes_the_place_of_one_that_crashed_runs_the_rest_of_its_share(
    tmp_path: Path, crash: str
) -> None:
    code, printed = run(tmp_path, crash=crash)
    times, workers = notes(tmp_path)

    assert code == 1, printed
    assert f"1 failed, {len(NAMES) * IN_A_FILE - 1} passed" in printed
    assert set(times.values()) == {1}
    assert len(times) == len(NAMES) * IN_A_FILE
    assert workers == {"gw0", "gw1", "gw2"}


def test_tests_of_which_none_is_chosen_are_no_success(tmp_path: Path) -> None:
    code, printed = run(tmp_path, "-k", "nothing_of_the_kind")

    assert code == pytest.ExitCode.NO_TESTS_COLLECTED, printed
