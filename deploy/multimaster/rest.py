# SPDX-License-Identifier: GPL-2.0-only
"""How the show starts jobs, and asks what has become of them: Buildbot's own REST API.

Nothing else here knows how a job is started.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any, Final

ATTEMPTS: Final = 20  # to get an answer
PAUSE: Final = 0.5  # seconds between two of them
RETRY: Final = 5  # buildbot.process.results.RETRY
SUCCESS: Final = 0


@dataclass(frozen=True)
class Attempt:
    """One build of a job.

    :param results: as Buildbot numbers them; ``None`` while it runs.
    """

    master: int
    results: int | None


@dataclass(frozen=True)
class Job:
    """A job that was accepted.

    :param url: its page, which stays the same whichever master runs it.
    """

    id: int
    url: str


@dataclass(frozen=True)
class State:
    """What has become of a job.

    :param is_over: whether it has its result.
    :param attempts: its builds, oldest first.
    """

    is_over: bool
    attempts: tuple[Attempt, ...]

    @property
    def running_on(self) -> int | None:
        """The master that runs it now, if one does."""
        latest = self.attempts[-1] if self.attempts else None
        return latest.master if latest is not None and latest.results is None else None


class Jobs:
    """The jobs of an installation, by way of a scheduler master.

    :param url: of its web UI, with a slash at the end.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def start(self, builder: str) -> Job:
        """Start a job."""
        call = {"jsonrpc": "2.0", "id": 1, "method": "force", "params": {"reason": "the show"}}
        answer = self._read(f"forceschedulers/force-{builder}", data=json.dumps(call).encode())
        (request,) = answer["result"][1].values()
        return Job(int(request), f"{self._url}#/buildrequests/{request}")

    def states(self, jobs: list[Job]) -> dict[Job, State]:
        """Return what has become of all *jobs*."""
        # Asked first: a job that ends in between must not seem to be over without a build.
        requests = self._get("buildrequests", "field=buildrequestid&field=complete")
        over = {r["buildrequestid"] for r in requests if r["complete"]}
        attempts: dict[int, list[Attempt]] = {}
        for build in self._get("builds", "order=buildid"):
            attempt = Attempt(build["masterid"], build["results"])
            attempts.setdefault(build["buildrequestid"], []).append(attempt)
        return {job: State(job.id in over, tuple(attempts.get(job.id, ()))) for job in jobs}

    def masters(self) -> dict[int, str]:
        """Return the base directories of all masters, by their numbers."""
        return {m["masterid"]: m["name"].partition(":")[2] for m in self._get("masters", "")}

    def _get(self, what: str, query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._read(f"{what}?{query}")[what]
        return found

    def _read(self, path: str, *, data: bytes | None = None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - the scheme is in url
            f"{self._url}api/v2/{path}", data=data, headers={"Content-Type": "application/json"}
        )
        for attempt in range(ATTEMPTS):
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                    return json.load(answer)
            except (urllib.error.URLError, ConnectionError, http.client.HTTPException):
                # A job that may have been started must not be started again.
                if data is not None or attempt == ATTEMPTS - 1:
                    raise
            time.sleep(PAUSE)
        raise AssertionError
