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
from urllib.parse import urlsplit

import gevent.socket
from locust import FastHttpUser, constant_pacing, events, task

SETTINGS = json.loads(os.environ["LATENT_LIBVIRT_STRESS_READERS"])
OUTPUT = Path(SETTINGS["output"]).open("a", buffering=1)  # noqa: SIM115 - until the process ends

ADDRESSES = frozenset(SETTINGS["addresses"])
"""Of the URL's host when it was checked; empty for the harness's own deployment."""

OK = 200

BUILDS = "/api/v2/builds?order=-buildid&limit=50&property=owners"
"""What the web UI's lists ask."""

HEAD = {"Authorization": f"Bearer {SETTINGS['token']}"} if SETTINGS["token"] else {}
"""What goes to the job API, and nowhere else."""

HOME = "/api/v2/builds?complete=false&order=-started_at&limit=20"


resolve = gevent.socket.getaddrinfo


def checked(*arguments: Any, **more: Any) -> list[Any]:
    """Resolve a name to addresses that may have a load: it may lead elsewhere by now."""
    found = resolve(*arguments, **more)
    if ADDRESSES and not (found := [each for each in found if each[4][0] in ADDRESSES]):
        raise OSError(f"the name leads to none of {', '.join(sorted(ADDRESSES))} any more")
    return list(found)


gevent.socket.getaddrinfo = checked


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
    insecure = False  # the token is for this server alone
    wait_time = constant_pacing(SETTINGS["every"])

    def on_start(self) -> None:
        """Know of no job yet."""
        self.jobs: list[dict[str, Any]] = []

    @task(2)
    def ui(self) -> None:
        """Open the web UI."""
        self.client.get("/", name="ui", allow_redirects=False)
        self.client.get(HOME, name="ui", allow_redirects=False)

    @task(3)
    def builds(self) -> None:
        """Read the list of builds."""
        self.client.get(BUILDS, name="rest", allow_redirects=False)

    @task(2)
    def newest_jobs(self) -> None:
        """Read the list of jobs."""
        answer = self._jobs("?limit=50", "jobs")
        if answer.status_code == OK:
            self.jobs = answer.json()["jobs"]

    @task(3)
    def job(self) -> None:
        """Ask what has become of a job."""
        if self.jobs:
            self._jobs(f"/{self._any(self.jobs)}", "job")

    @task(2)
    def log(self) -> None:
        """Read the log of a job that has ended."""
        if ended := [job for job in self.jobs if job["state"] == "finished"]:
            answer = self._jobs(f"/{self._any(ended)}/log", "log")
            # It may name another address of the same server, which may not be one to be asked.
            if where := answer.headers.get("Location", ""):
                self.client.get(urlsplit(where).path, name="log", allow_redirects=False)

    def _jobs(self, path: str, kind: str) -> Any:
        return self.client.get(f"/jobs{path}", name=kind, headers=HEAD, allow_redirects=False)

    def _any(self, jobs: list[dict[str, Any]]) -> str:
        return str(random.choice(jobs)["uuid"])  # noqa: S311
