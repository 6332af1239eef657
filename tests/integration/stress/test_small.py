# SPDX-License-Identifier: GPL-2.0-only
"""The stress harness with a small profile: one master, simulated hosts, jobs and readers."""

from __future__ import annotations

import json
import signal
import subprocess
from collections import Counter
from importlib.metadata import distributions
from os.path import relpath
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet

import children
from buildmaster import DEADLINE, wait_for
from commands import COMMAND
from latent_libvirt.stress.measure.raw import rows
from latent_libvirt.stress.plan import planned_jobs
from latent_libvirt.stress.profile import PROFILES, load
from latent_libvirt.stress.readers import engine

SMALL = PROFILES / "small.yaml"


def command(profile: Path, report: Path, cache: Path) -> list[str]:
    """Return the command, with paths as people give them."""
    arguments = [relpath(profile), "--report", relpath(report), "--cache", relpath(cache)]
    return [*children.WITH_US, str(COMMAND), "stress", *arguments]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """Give the directory of a report; ``summary.json`` in it is the command's last line."""
    directory = tmp_path_factory.mktemp("stress") / "report"
    done = subprocess.run(
        command(SMALL, directory, cache),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (directory / "summary.json").write_text(done.stdout.splitlines()[-1])
    return directory


def test_the_last_line_is_the_summary(report: Path) -> None:
    summary = json.loads((report / "summary.json").read_text())

    assert summary.keys() == {"verdict", "saturated", "jobs_per_min", "web_p99_s", "report"}
    assert summary["jobs_per_min"] > 0
    assert summary["web_p99_s"] > 0
    assert "<svg" in Path(summary["report"]).read_text()


def test_each_job_ends_as_its_shape_says(report: Path) -> None:
    planned = Counter(job.shape.exit_status for job in planned_jobs(load(SMALL)))

    results = Counter(job["results"] for job in rows(report / "raw/jobs.jsonl"))

    assert results == {0: planned[0], 2: planned[1]}


def test_each_build_had_a_vm_with_all_its_phases(report: Path) -> None:
    jobs = planned_jobs(load(SMALL))

    leases = rows(report / "raw/leases-single.jsonl")

    assert len(leases) == len(jobs) + sum(job.shape.children for job in jobs)
    assert {lease["failure"] for lease in leases} == {""}
    assert all({"boot", "assign", "attach", "build"} <= set(each["phases"]) for each in leases)


@pytest.mark.parametrize("name", ["posts", "queue", "processes", "database", "statements", "web"])
def test_everything_is_measured(report: Path, name: str) -> None:
    assert rows(report / f"raw/{name}.jsonl")


def test_statements_are_those_of_the_load(report: Path) -> None:
    queries = [row["query"] for row in rows(report / "raw/statements.jsonl")]

    assert any("buildrequests" in query for query in queries)
    assert not any("stress harness" in query for query in queries)


def test_readers_get_answers(report: Path) -> None:
    failures = [row for row in rows(report / "raw/web.jsonl") if row["error"]]

    assert failures == []


def test_a_report_does_not_differ_from_itself(report: Path) -> None:
    done = subprocess.run(
        [str(COMMAND), "stress", "compare", str(report), str(report), "--html", f"{report}.html"],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )

    # A quick machine ends the run before there are windows enough.
    verdict = done.stdout.partition("\n")[0]
    assert verdict.startswith(("Nothing has changed", "The runs are too short")), done.stderr
    assert done.returncode == 0
    assert "throughput" in Path(f"{report}.html").read_text()


def test_all_that_is_pinned_for_locust_runs_on_debians_own_python(cache: Path) -> None:
    """Debian 12 has Python 3.11.2, which some releases for 3.11 refuse."""
    environment = engine.install(cache).parents[1]
    (packages,) = environment.glob("lib/python3*/site-packages")
    wanted = {each.name: each.metadata.json for each in distributions(path=[str(packages)])}
    assert wanted.keys() >= {"locust", "gevent"}

    versions = {name: str(about.get("requires_python", "")) for name, about in wanted.items()}

    assert {name for name, v in versions.items() if "3.11.2" not in SpecifierSet(v)} == set()


def test_ctrl_c_ends_all_that_was_started(tmp_path: Path, cache: Path) -> None:
    profile: dict[str, Any] = yaml.safe_load(SMALL.read_text())
    profile["jobs"] |= {"count": 1000, "arrivals": {"kind": "poisson", "during": "1m"}}
    profile["readers"] = {"users": 0}
    (tmp_path / "profile.yaml").write_text(yaml.safe_dump(profile))
    log = tmp_path / "log"
    with log.open("wb") as output:
        harness = children.begun(
            lambda: subprocess.Popen(
                command(tmp_path / "profile.yaml", tmp_path / "report", cache), stderr=output
            )
        )
    posts = tmp_path / "report/raw/posts.jsonl"
    wait_for("a few jobs", lambda: len(rows(posts)) > 3 or harness.poll() is not None)
    assert harness.poll() is None, log.read_text()
    started = descendants(harness.pid)
    assert len(started) > 3

    harness.send_signal(signal.SIGINT)

    assert harness.wait(DEADLINE) == 130, log.read_text()
    assert [pid for pid in started if is_running(pid)] == []


def descendants(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    found = [int(child) for task in tasks for child in task.read_text().split()]
    return [*found, *(pid for child in found for pid in descendants(child))]


def is_running(pid: int) -> bool:
    """Whether a process does anything; one that is dead may wait for its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
