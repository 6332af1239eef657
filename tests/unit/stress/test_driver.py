# SPDX-License-Identifier: GPL-2.0-only
"""The driver: all jobs are posted at their times, and what goes wrong is recorded.

The job API is a function here: what a server answers is tested with a real one.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest

from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.stress.driver import Driver, PlannedJob
from latent_libvirt.stress.measure.raw import Row
from latent_libvirt.stress.shapes import Shape


def jobs(*times: float) -> list[PlannedJob]:
    return [PlannedJob(at, UUID(int=n), "trivial", Shape()) for n, at in enumerate(times)]


def nothing() -> None:
    pass


def test_all_jobs_are_posted_not_before_their_times() -> None:
    posted: list[tuple[str, float]] = []
    rows: list[Row] = []
    began = time.time()
    driver = Driver(lambda body: posted.append((body["uuid"], time.time() - began)), rows.append)

    driver.run(jobs(0.0, 0.0, 0.3), deadline=60.0, check=nothing)

    assert {uuid for uuid, _ in posted} == {str(job.uuid) for job in jobs(0.0, 0.0, 0.3)}
    assert posted[-1][1] >= 0.3
    assert all(row["late"] >= 0 and row["error"] == "" for row in rows)


def test_a_refusal_is_recorded_and_the_others_are_posted() -> None:
    def submit(body: dict[str, Any]) -> None:
        if body["uuid"].endswith("0"):
            raise LatentLibvirtError("not this one")

    rows: list[Row] = []
    Driver(submit, rows.append).run(jobs(0.0, 0.0), deadline=60.0, check=nothing)

    assert sorted(row["error"] for row in rows) == ["", "not this one"]


def test_posts_that_take_too_long_end_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    rows: list[Row] = []
    cancel = ThreadPoolExecutor.shutdown

    def cancel_and_go_on(posters: ThreadPoolExecutor, **how: Any) -> None:
        cancel(posters, wait=False, cancel_futures=how.get("cancel_futures", False))
        go_on.set()

    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", cancel_and_go_on)
    Driver(lambda _: go_on.wait(60.0), rows.append).run(
        jobs(*[0.0] * 50), deadline=0.5, check=nothing
    )

    assert len(rows) < 50


def test_a_check_that_raises_ends_the_run() -> None:
    class OverError(Exception):
        pass

    def check() -> None:
        raise OverError

    with pytest.raises(OverError):
        Driver(lambda _: None, lambda _: None).run(jobs(30.0), deadline=60.0, check=check)
