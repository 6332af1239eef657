# SPDX-License-Identifier: GPL-2.0-only
"""Verdicts: each rule has its threshold, and the first that is reached counts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from latent_libvirt.stress.report.data import Run
from latent_libvirt.stress.report.figures import Figures, Load
from latent_libvirt.stress.report.numbers import Spread
from latent_libvirt.stress.report.verdict import NOBODY, NOTHING, verdict

RUN = Run(0.0, 60.0, cores=4, slots=20, jobs=100, masters=("scheduler", "interface-1"))


def load(**cores: float) -> dict[str, Load]:
    return {name.replace("_", "-"): Load(each, each, 0) for name, each in cores.items()}


QUIET = Figures(
    seconds=60.0,
    finished={"success": 100},
    lost=0,
    refused=0,
    jobs_per_min=100.0,
    late=Spread(),
    posts=Spread(),
    age=Spread(),
    busy_slots=0.5,
    waiting_share=0.1,
    web={},
    web_errors={},
    all_web=Spread(),
    load=load(interface_1=0.5, scheduler=0.2, machine=1.0),
    reactor={"interface-1": Spread(60, 0.01, 0.02, 0.03, 0.04)},
    starts={},
    database_share=0.1,
    slowest_statement="SELECT 1 (0.1 ms each)",
    vms=100,
    failed_starts=0,
)


def test_a_quiet_run_has_nothing_saturated() -> None:
    found = verdict(RUN, QUIET)

    assert found.saturated == NOTHING
    assert {finding.resource for finding in found.findings} >= {"interface-1", "the job API"}


@pytest.mark.parametrize(
    ("changes", "saturated"),
    [
        ({"late": Spread(9, p99=2.0)}, "the harness's driver"),
        ({"late": Spread(9, p99=2.0), "answer_share": 0.7}, "the harness's driver"),
        ({"late": Spread(9, p99=2.0), "answer_share": 0.9}, "the job API"),
        (
            {
                "late": Spread(9, p99=2.0),
                "answer_share": 0.9,
                "load": load(scheduler=0.8, interface_1=2.8, machine=3.7),
            },
            "the processors of this",
        ),
        ({"load": load(readers=0.9, machine=1.0)}, "the harness's readers"),
        ({"load": load(interface_1=0.9, machine=1.0)}, "interface-1"),
        ({"load": load(scheduler=0.9, machine=1.0)}, "scheduler"),
        ({"load": load(scheduler=0.8, interface_1=2.5, machine=3.7)}, "the processors of this"),
        ({"load": load(interface_1=0.8, machine=3.7)}, "other programs on this machine"),
        ({"reactor": {"scheduler": Spread(9, p50=0.6)}}, "the event loop of scheduler"),
        ({"busy_slots": 0.97}, "the slots of the hosts"),
        ({"database_share": 2.0, "load": load(postgresql=0.5)}, "locks in the database"),
    ],
)
def test_a_threshold_that_is_reached_names_the_resource(
    changes: dict[str, object], saturated: str
) -> None:
    found = verdict(RUN, replace(QUIET, **changes))  # type: ignore[arg-type]

    assert found.saturated.startswith(saturated)
    assert found.saturated in found.text


def test_what_makes_figures_worthless_comes_first() -> None:
    everything = replace(
        QUIET, busy_slots=1.0, load=load(interface_1=1.0, machine=4.0), late=Spread(9, p99=5.0)
    )

    assert verdict(RUN, everything).saturated == "the harness's driver"


def test_the_report_says_whether_the_harness_was_the_bottleneck() -> None:
    quiet = verdict(RUN, QUIET).about_the_harness
    late = verdict(RUN, replace(QUIET, late=Spread(9, p99=5.0))).about_the_harness

    assert quiet == "The harness was not the bottleneck (driver: posts began 0.00 s late (99 %))."
    assert late == (
        "The harness was a bottleneck (driver: posts began 5.00 s late (99 %), and waited for "
        "answers to others in 0% of that time)."
    )


def test_time_in_which_the_database_works_is_no_waiting() -> None:
    busy = replace(QUIET, database_share=2.0, load=load(postgresql=1.8, machine=2.0))

    assert verdict(RUN, busy).saturated == NOTHING


def test_what_else_is_at_its_limit_is_said() -> None:
    both = replace(QUIET, busy_slots=1.0, database_share=2.0, load=load(postgresql=0.5))

    found = verdict(RUN, both)

    assert found.saturated == "locks in the database"
    assert found.text.endswith("Also at their limits: the slots of the hosts.")


def test_jobs_that_did_not_end_are_said() -> None:
    text = verdict(RUN, replace(QUIET, lost=3, refused=2)).text

    assert "3 jobs had not ended" in text
    assert "2 jobs were not accepted" in text


def test_a_run_without_a_job_has_no_verdict_on_the_deployment() -> None:
    found = verdict(RUN, replace(QUIET, refused=3, posts=Spread(3), refusal="500: \x1b[2Jno"))

    assert found.saturated == NOBODY
    assert found.text.startswith("None of 3 jobs was accepted")
    assert "500: \\x1b[2Jno" in found.text


def test_a_run_in_which_some_jobs_were_refused_has_its_verdict() -> None:
    found = verdict(RUN, replace(QUIET, refused=3, posts=Spread(4), refusal="503"))

    assert found.saturated == NOTHING
    assert "3 jobs were not accepted." in found.text
