# SPDX-License-Identifier: GPL-2.0-only
"""How the show starts jobs, and asks what has become of them.

One POST to the job API starts a job; Buildbot's own REST API tells of all of them at once, to who
is logged in.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any, Final

from latent_libvirt.jobs.client import Client
from web_session import WebSession

ATTEMPTS: Final = 20  # to get an answer
PAUSE: Final = 0.5  # seconds between two of them
RETRY: Final = 5  # buildbot.process.results.RETRY
SUCCESS: Final = 0


@dataclass(frozen=True)
class Attempt:
    """One build of a job.

    :param results: as Buildbot numbers them; ``None`` while it runs.
    :param started_at: seconds since the epoch.
    """

    master: int
    results: int | None
    started_at: int = 0


@dataclass(frozen=True)
class Job:
    """A job that was accepted.

    :param url: its own, which stays the same whichever master runs it.
    """

    uuid: str
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
    :param token: of the job API.
    :param password: of the web UI's user "admin".
    """

    def __init__(self, url: str, token: str, password: str) -> None:
        self._url = url
        self._token = {"Authorization": f"Bearer {token}"}
        self._client = Client(f"{url}jobs", token)
        self._session = WebSession(url, "admin", password)

    def start(self, builder: str) -> Job:
        """Start a job."""
        accepted = self._client.submit({"builder": builder, "reason": "the show"})
        return Job(accepted["uuid"], accepted["url"])

    def states(self, jobs: list[Job]) -> dict[Job, State]:
        """Return what has become of all *jobs*."""
        # Asked first: a job that ends in between must not seem to be over without a build.
        buildsets = self._get("buildsets", "field=bsid&field=external_idstring&field=complete")
        over = {each["external_idstring"] for each in buildsets if each["complete"]}
        uuids = self._uuids_of_requests({b["bsid"]: b["external_idstring"] for b in buildsets})
        attempts: dict[str, list[Attempt]] = {}
        for build in self._get("builds", "order=buildid"):
            attempt = Attempt(build["masterid"], build["results"], build["started_at"])
            attempts.setdefault(uuids[build["buildrequestid"]], []).append(attempt)
        return {job: State(job.uuid in over, tuple(attempts.get(job.uuid, ()))) for job in jobs}

    def _uuids_of_requests(self, uuids: dict[int, str]) -> dict[int, str]:
        """Return the jobs of build requests: a build that has just begun has no properties yet.

        :param uuids: of the jobs, by their buildsets.
        """
        requests = self._get("buildrequests", "field=buildrequestid&field=buildsetid")
        return {each["buildrequestid"]: uuids[each["buildsetid"]] for each in requests}

    def is_green_at_its_url(self, job: Job) -> bool:
        """Tell whether a job's own URL says that it has succeeded, and leads to its log."""
        document = self._client.job(job.uuid)
        request = urllib.request.Request(f"{job.url}/log", headers=self._token)  # noqa: S310
        with self._session.open(request) as log:  # it leads to Buildbot's own API
            return bool(document["result"] == "success" and log.read())

    def masters(self) -> dict[int, str]:
        """Return the base directories of all masters, by their numbers."""
        return {m["masterid"]: m["name"].partition(":")[2] for m in self._get("masters", "")}

    def _get(self, what: str, query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._read(f"{self._url}api/v2/{what}?{query}")[what]
        return found

    def _read(self, url: str) -> Any:
        for attempt in range(ATTEMPTS):
            try:
                with self._session.open(url) as answer:
                    return json.load(answer)
            except (urllib.error.URLError, ConnectionError, http.client.HTTPException):
                if attempt == ATTEMPTS - 1:
                    raise
            time.sleep(PAUSE)
        raise AssertionError
