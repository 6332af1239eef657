# SPDX-License-Identifier: GPL-2.0-only
"""What the show of several masters counts, and when it is a failure."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

DIRECTORY = Path(__file__).parents[3] / "deploy/multimaster"
SUCCESS, FAILURE, RETRY, CANCELLED = 0, 2, 5, 6


def load(name: str, directory: Path = DIRECTORY) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, directory / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


load("web_session", DIRECTORY.parent / "demo")  # which rest imports
rest, show_verdict = load("rest"), load("show_verdict")


def verdict(*jobs: list[int | None], **more: Any) -> Any:
    states = [
        rest.State(is_over=True, attempts=tuple(rest.Attempt(1, result) for result in results))
        for results in jobs
    ]
    return show_verdict.Verdict.of(
        states, **{"failover": 1.0, "max_vms_seen": 4, "slots": 4} | more
    )


def test_a_job_that_began_again_is_one_job() -> None:
    good = verdict([SUCCESS], [RETRY, SUCCESS], [RETRY, RETRY, SUCCESS])

    assert (good.accepted, good.finished, good.lost, good.doubled) == (3, 3, 0, 0)
    assert not [*good.faults()]


@pytest.mark.parametrize(
    "results", [[], [RETRY], [FAILURE], [CANCELLED], [None], [RETRY, CANCELLED]]
)
def test_a_job_without_success_is_lost(results: list[int | None]) -> None:
    bad = verdict([SUCCESS], results)

    assert (bad.finished, bad.lost, bad.doubled) == (1, 1, 0)
    assert [*bad.faults()] == ["1 jobs did not end with success"]


@pytest.mark.parametrize("results", [[SUCCESS, SUCCESS], [CANCELLED, SUCCESS]])
def test_a_job_with_two_results_is_doubled(results: list[int | None]) -> None:
    assert [*verdict(results).faults()] == ["1 jobs have more than one result"]


def test_more_vms_than_slots_and_a_slow_failover_are_failures() -> None:
    assert len([*verdict([SUCCESS], max_vms_seen=5, failover=15.1).faults()]) == 2


def test_it_ends_with_one_line_of_json() -> None:
    assert json.loads(str(verdict([SUCCESS]))) == {
        "accepted": 1,
        "finished": 1,
        "lost": 0,
        "doubled": 0,
        "failover_s": 1.0,
        "max_vms_seen": 4,
        "slots": 4,
    }
