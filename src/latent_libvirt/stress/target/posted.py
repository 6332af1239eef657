# SPDX-License-Identifier: GPL-2.0-only
"""Jobs that were posted to a running deployment: each is recorded before it exists, and ended.

A file has the UUID of each job from before its POST. So whatever ends the harness, the file says
which jobs there may be, and ``latent-libvirt stress cancel`` cancels those that have not ended.
"""

from __future__ import annotations

import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.jobs.client import Client, JobError
from latent_libvirt.jobs.state import RESULTS
from latent_libvirt.plain_text import as_text
from latent_libvirt.stress.measure import raw

if TYPE_CHECKING:
    from latent_libvirt.stress.measure.raw import Row

CANCELLERS: Final = 8
"""How many jobs are cancelled at once."""

CANCEL_DEADLINE: Final = 60.0
"""Seconds in which all jobs are cancelled; those that are left are reported."""

MOST_STARTS: Final = 100
"""Jobs, at most, that are asked how their VMs started: of many, a few at equal distances."""

_RETRY_FOR: Final = 30.0


class StoppedError(LatentLibvirtError):
    """The run ends, and nothing is tried again."""


class PostedJobs:
    """The jobs of one run.

    :param url: of the job API.
    :param record: the file with their UUIDs, which is added to.
    :param handlers: of ``urllib``, which check addresses.
    """

    def __init__(
        self,
        url: str,
        token: str | None,
        record: Path,
        handlers: Sequence[urllib.request.BaseHandler] = (),
    ) -> None:
        self._client = Client(
            url, token, retry_for=_RETRY_FOR, sleep=self._sleep, handlers=handlers
        )
        self._record = record
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._accepted: dict[int, str] = {}
        self.token_name: str | None = None

    @property
    def requests(self) -> frozenset[int]:
        """The numbers of the build requests of all jobs that were accepted."""
        with self._lock:
            return frozenset(self._accepted)

    def submit(self, request: Mapping[str, Any]) -> None:
        """Post a job, which has a UUID.

        :raises LatentLibvirtError: it was refused.
        """
        if self._stopped.is_set():
            raise StoppedError("the run has ended")
        with self._lock:
            raw.append(self._record, [{"uuid": request["uuid"]}])
        document = self._client.submit(request)
        with self._lock, _documents():
            self._accepted[int(document["build_request"])] = str(request["uuid"])
            self.token_name = document.get("token")

    def stop(self) -> None:
        """Post nothing more, and let no POST be tried again."""
        self._stopped.set()

    def outcomes(self) -> list[Row]:
        """Return when each job was accepted and when it ended, in whole seconds.

        :raises JobError: they cannot be read.
        """
        mine = set(self._accepted.values())
        filters = {} if self.token_name is None else {"token": self.token_name}
        found: list[Row] = []
        # Others may post with the same token; the newest jobs are listed first.
        with _documents():
            for document in self._client.jobs(2 * len(mine) + 1000, filters):
                if document["uuid"] in mine:
                    found.append(_outcome(document))
                    if len(found) == len(mine):
                        break
        return found

    def starts(self) -> list[Row]:
        """Return how long VMs of some jobs took to start, by label, in the form of leases.

        :raises JobError: that cannot be read.
        """
        uuids = sorted(self._accepted.values())
        step = max(1, len(uuids) // MOST_STARTS)
        documents = [self._client.job(uuid) for uuid in uuids[::step]]
        with _documents():
            return [_start(attempt) for document in documents for attempt in document["attempts"]]

    def _sleep(self, seconds: float) -> None:
        if self._stopped.wait(seconds):
            raise StoppedError("the run has ended")


@contextmanager
def _documents() -> Iterator[None]:
    """Report documents that lack what those of jobs have: a target may be anything."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise JobError(
            "the target answers with what is no document of a job",
            details=f"{type(error).__name__}: {as_text(error)[:200]}",
            resolution="Give the URL of a master whose job API has the version of this command.",
        ) from None


def recorded(file: Path) -> list[str]:
    """Return the UUIDs of the jobs that a run may have posted."""
    return [str(row["uuid"]) for row in raw.rows(file)]


def cancel_all(
    client: Client, uuids: Iterable[str], *, within: float = CANCEL_DEADLINE
) -> dict[str, str]:
    """Cancel jobs that have not ended; return those for which that failed, each with the reason.

    A job that the server does not know was not accepted, and is no failure.

    :param within: seconds after which the rest is given up.
    """
    give_up_at = time.monotonic() + within

    def cancel(uuid: str) -> str:
        if time.monotonic() > give_up_at:
            return "there was no time left"
        return _reason(lambda: client.cancel(uuid))

    wanted = list(uuids)
    with ThreadPoolExecutor(CANCELLERS, "cancels") as pool:
        reasons = pool.map(cancel, wanted)
        return {uuid: why for uuid, why in zip(wanted, reasons, strict=True) if why}


def _reason(cancel: Callable[[], object]) -> str:
    """Return why something failed; nothing if it did not, or if there is no such job."""
    try:
        cancel()
    except JobError as error:
        return "" if "no job" in error.brief else error.brief
    return ""


def _outcome(document: Mapping[str, Any]) -> Row:
    ended = document["finished_at"]
    return {
        "uuid": document["uuid"],
        "submitted_at": seconds(document["accepted_at"]),
        "complete_at": None if ended is None else seconds(ended),
        "results": -1 if ended is None else RESULTS.index(document["result"]),
    }


def _start(attempt: Mapping[str, Any]) -> Row:
    lost = attempt["result"] == "retry"
    return {
        "at": seconds(attempt["started_at"]),
        "way": attempt["label"] or "a worker that is no VM",
        "failure": "lost" if lost else "",
        "phases": {"starting": float(attempt["seconds"].get("starting", 0.0))},
    }


def seconds(timestamp: str) -> float:
    """Return the seconds since the epoch of a time as RFC 3339 has it."""
    return datetime.fromisoformat(timestamp).timestamp()
