# SPDX-License-Identifier: GPL-2.0-only
"""The stress harness on a deployment that runs already: a master with local workers."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import children
from buildmaster import DEADLINE, wait_for
from commands import COMMAND
from job_masters import JobMaster
from latent_libvirt.stress.measure.raw import rows
from latent_libvirt.stress.target.posted import recorded

SLOW = 20
WORKERS = 3
"""Of a :class:`JobMaster`."""


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobMaster]:
    running = JobMaster(tmp_path_factory.mktemp("target") / "scheduler")
    running.start()
    yield running
    running.stop()


@pytest.fixture
def token_file(master: JobMaster, tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text(master.token)
    return file


def command(profile: dict[str, Any], directory: Path, cache: Path, *more: str) -> list[str]:
    """Return the command that runs a profile, which is written into *directory*."""
    (directory / "profile.yaml").write_text(yaml.safe_dump(profile))
    report = ["--report", str(directory / "report"), "--cache", str(cache)]
    program = [*children.WITH_US, str(COMMAND), "stress", str(directory / "profile.yaml")]
    return [*program, *report, *more]


def profile(master: JobMaster, token_file: Path, **changes: Any) -> dict[str, Any]:
    shapes = {"good": {"builder": "check"}, "bad": {"builder": "fail"}}
    return {
        "target": {
            "url": master.jobs_url,
            "token_file": str(token_file),
            "masters": {"nothing-here": str(token_file.parent)},
        },
        "jobs": {"count": 12, "shapes": shapes},
        "readers": {"users": 2, "every": 0.2},
        "within": "2m",
        "seed": 12,
    } | changes


@pytest.fixture
def busy(master: JobMaster) -> Iterator[None]:
    """Let all workers be busy, so that no job of a run begins."""
    master.hold_back()
    for _ in range(WORKERS):
        master.post(builder="slow")

    def waits(build: dict[str, Any]) -> bool:
        return len(master.get(f"builds/{build['buildid']}/steps")) > 1

    wait_for(
        "all workers to be busy",
        lambda: sum(map(waits, master.get("builds?complete=false"))) == WORKERS,
    )
    yield
    master.let_go()
    wait_for("all to end", lambda: not master.get("buildrequests?complete=false"))


@pytest.fixture
def slow(
    busy: None, master: JobMaster, token_file: Path, tmp_path: Path, cache: Path
) -> Iterator[Slow]:
    """Give a run whose jobs do not begin, after they have been posted."""
    wanted = profile(
        master,
        token_file,
        jobs={"count": SLOW, "shapes": {"slow": {"builder": "slow"}}},
        readers={"users": 0},
    )
    run = Slow(command(wanted, tmp_path, cache), tmp_path)
    wait_for("all jobs", lambda: len(rows(run.raw / "posts.jsonl")) == SLOW or run.has_ended)
    assert not run.has_ended, run.log.read_text()
    yield run
    run.end()


class Slow:
    """A run under way."""

    def __init__(self, arguments: list[str], directory: Path) -> None:
        self.report = directory / "report"
        self.raw = self.report / "raw"
        self.log = directory / "log"
        with self.log.open("wb") as output:
            self.process = children.begun(lambda: subprocess.Popen(arguments, stderr=output))

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


def results(master: JobMaster, run: Slow) -> Counter[str]:
    """Return how the jobs of a run have ended, once they have."""
    uuids = recorded(run.raw / "uuids.jsonl")
    return Counter(str(master.finished(uuid)["result"]) for uuid in uuids)


def test_jobs_and_readers_are_put_on_a_deployment_that_runs_already(
    master: JobMaster, token_file: Path, tmp_path: Path, cache: Path
) -> None:
    arguments = command(profile(master, token_file), tmp_path, cache)

    done = subprocess.run(arguments, capture_output=True, text=True, timeout=DEADLINE, check=False)

    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary.keys() == {"verdict", "saturated", "jobs_per_min", "web_p99_s", "report"}
    assert summary["jobs_per_min"] > 0
    raw = tmp_path / "report/raw"
    ended = Counter(job["results"] for job in rows(raw / "jobs.jsonl"))
    assert ended.total() == 12
    assert ended.keys() == {0, 2}
    assert [row["error"] for row in rows(raw / "web.jsonl") if row["error"]] == []
    assert {row["kind"] for row in rows(raw / "web.jsonl")} >= {"ui", "rest"}
    assert rows(raw / "queue.jsonl")[-1]["finished"] == 12
    assert rows(raw / "reactor-web.jsonl")
    page = Path(summary["report"]).read_text()
    assert "Not visible:" in page
    assert "the master nothing-here" in page
    assert master.token not in "".join(
        file.read_text() for file in (tmp_path / "report").rglob("*") if file.is_file()
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_jobs_are_cancelled_when_a_run_is_interrupted(
    slow: Slow, master: JobMaster, number: signal.Signals
) -> None:
    slow.process.send_signal(number)

    assert slow.process.wait(DEADLINE) == 128 + number, slow.log.read_text()
    assert results(master, slow) == {"cancelled": SLOW}


def test_a_second_signal_does_not_keep_jobs_from_being_cancelled(
    slow: Slow, master: JobMaster
) -> None:
    slow.process.send_signal(signal.SIGINT)
    while not slow.has_ended:
        slow.process.send_signal(signal.SIGINT)
        time.sleep(0.05)

    assert slow.process.wait(DEADLINE) == 130, slow.log.read_text()
    assert results(master, slow) == {"cancelled": SLOW}


def test_the_jobs_of_a_run_that_was_killed_can_be_cancelled(slow: Slow, master: JobMaster) -> None:
    slow.process.kill()
    slow.process.wait()

    done = subprocess.run(
        [str(COMMAND), "stress", "cancel", str(slow.report)],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )

    assert done.stdout == "No job of that run is left.\n", done.stderr
    assert results(master, slow) == {"cancelled": SLOW}


def test_jobs_that_have_not_ended_when_the_time_is_over_are_cancelled(
    busy: None, master: JobMaster, token_file: Path, tmp_path: Path, cache: Path
) -> None:
    wanted = profile(
        master,
        token_file,
        jobs={"count": 3, "shapes": {"slow": {"builder": "slow"}}},
        readers={"users": 0},
        within="3s",
    )
    run = Slow(command(wanted, tmp_path, cache), tmp_path)

    assert run.process.wait(DEADLINE) == 0, run.log.read_text()
    assert "3 jobs had not ended when the time was over." in run.log.read_text()
    assert results(master, run) == {"cancelled": 3}


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ({"url": "http://192.0.2.1:8010/"}, "192.0.2.1 is neither loopback nor listed"),
        ({"url": "http://127.0.0.1:1/"}, "http://127.0.0.1:1/ cannot be reached"),
        ({"processes": {"database": 2**22}}, "there is no process 4194304"),
        ({"token_file": "/dev/null"}, "is no ordinary file"),
        ({"token_file": "none"}, "the token file none cannot be read"),
    ],
)
def test_a_target_that_cannot_be_used_gets_no_job(  # noqa: PLR0917 - fixtures
    master: JobMaster,
    token_file: Path,
    tmp_path: Path,
    cache: Path,
    target: dict[str, Any],
    problem: str,
) -> None:
    wanted = profile(master, token_file)
    wanted["target"] |= target

    done = subprocess.run(
        command(wanted, tmp_path, cache),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )

    assert done.returncode == 1
    assert problem in done.stderr
    assert not (tmp_path / "report").exists()


def test_builders_that_the_target_does_not_have_are_named(
    master: JobMaster, token_file: Path, tmp_path: Path, cache: Path
) -> None:
    wanted = profile(master, token_file)
    wanted["jobs"]["shapes"]["good"]["builder"] = "chekc"

    done = subprocess.run(
        command(wanted, tmp_path, cache),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )

    assert "the target has no builder chekc" in done.stderr
    assert "did you mean 'check'?" in done.stderr
