# SPDX-License-Identifier: GPL-2.0-only
"""Readers of UI, REST API, job API and logs. Locust runs this file in its own environment.

Each request has a kind, by which the report counts it. One line of JSON is written for each.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

from locust import FastHttpUser, constant_pacing, events, task

SETTINGS = json.loads(os.environ["LATENT_LIBVIRT_STRESS_READERS"])
OUTPUT = Path(SETTINGS["output"]).open("a", buffering=1)  # noqa: SIM115 - until the process ends

BUILDS = "/api/v2/builds?order=-buildid&limit=50&property=owners"
"""What the web UI's lists ask."""

HOME = "/api/v2/builds?complete=false&order=-started_at&limit=20"


@events.request.add_listener
def write_down(  # noqa: PLR0913, PLR0917 - locust's signature
    name: str,
    response_time: float,
    response_length: int,
    start_time: float,
    exception: Exception | None = None,
    response: Any = None,
    **_more: Any,
) -> None:
    """Write down one request."""
    line = {
        "at": start_time,
        "kind": name,
        "seconds": response_time / 1000,
        "bytes": response_length,
        "status": getattr(response, "status_code", 0),
        "error": "" if exception is None else repr(exception),
    }
    OUTPUT.write(json.dumps(line) + "\n")


class Reader(FastHttpUser):
    """Somebody with a browser, or a program that looks after its jobs."""

    host = SETTINGS["url"]
    wait_time = constant_pacing(SETTINGS["every"])

    def on_start(self) -> None:
        """Know of no job yet."""
        self.jobs: list[dict[str, Any]] = []

    @task(2)
    def ui(self) -> None:
        """Open the web UI."""
        self.client.get("/", name="ui")
        self.client.get(HOME, name="ui")

    @task(3)
    def builds(self) -> None:
        """Read the list of builds."""
        self.client.get(BUILDS, name="rest")

    @task(2)
    def newest_jobs(self) -> None:
        """Read the list of jobs."""
        answer = self.client.get("/jobs?limit=50", name="jobs")
        if answer.status_code == 200:  # noqa: PLR2004
            self.jobs = answer.json()["jobs"]

    @task(3)
    def job(self) -> None:
        """Ask what has become of a job."""
        if self.jobs:
            self.client.get(f"/jobs/{self._any(self.jobs)}", name="job")

    @task(2)
    def log(self) -> None:
        """Read the log of a job that has ended."""
        if ended := [job for job in self.jobs if job["state"] == "finished"]:
            self.client.get(f"/jobs/{self._any(ended)}/log", name="log")

    def _any(self, jobs: list[dict[str, Any]]) -> str:
        return str(random.choice(jobs)["uuid"])  # noqa: S311
