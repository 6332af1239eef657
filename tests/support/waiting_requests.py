# SPDX-License-Identifier: GPL-2.0-only
"""A builder with requests that wait, for choosers to choose from.

It is made up: a chooser only asks it, and 25,000 requests in a real database take minutes
(``bench/decision.py`` does that).
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from buildbot.process.buildrequestdistributor import BasicBuildChooser
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

WAITING = 25_000
WORKERS = 10

Chooser = Callable[..., BasicBuildChooser]


class Requests(list[dict[str, int]]):
    """What Buildbot's data API gives for many resources."""

    @property
    def data(self) -> Requests:
        return self


class Builder:
    """A builder with workers, of which as many may start as there is room."""

    def __init__(self, *, waiting: int = WAITING, room: int = 1, next_worker: Any = None) -> None:
        self.name = "builder"
        self.config = SimpleNamespace(nextWorker=next_worker, nextBuild=None, locks=[])
        self.room = room
        self.questions = 0
        self.wants: Callable[[Any], bool] = lambda _request: True
        self.fetched = 0
        self.waiting = [
            {"buildrequestid": n, "buildsetid": n, "priority": 0, "builderid": 1}
            for n in range(waiting)
        ]
        self.workers = [self._worker() for _ in range(WORKERS)]
        self.master = SimpleNamespace(
            data=SimpleNamespace(get=self._get),
            db=SimpleNamespace(pool=SimpleNamespace(do=self._rows)),
            config=SimpleNamespace(select_next_worker=None),
            reactor=Clock(),
        )

    def _worker(self) -> SimpleNamespace:
        worker = SimpleNamespace(has_idle_vm=False, idle_vm_suits=True)
        return SimpleNamespace(isAvailable=lambda: self.room > 0, worker=worker)

    def chooser(self, kind: Chooser) -> BasicBuildChooser:
        chooser = kind(self, self.master)
        chooser._getBuildRequestForBrdict = lambda brdict: succeed(
            SimpleNamespace(
                id=brdict["buildrequestid"],
                bsid=brdict["buildsetid"],
                priority=brdict["priority"],
            )
        )
        return chooser

    def getAvailableWorkers(self) -> list[Any]:  # noqa: N802 - Buildbot's
        return [worker for worker in self.workers if worker.isAvailable()]

    def getBuilderId(self) -> Deferred[int]:  # noqa: N802 - Buildbot's
        return succeed(1)

    def canStartBuild(self, _worker: Any, request: Any) -> Deferred[bool]:
        self.questions += 1
        return succeed(self.room > 0 and self.wants(request))

    def _get(self, *_args: object) -> Deferred[Requests]:
        self.fetched += len(self.waiting)
        return succeed(Requests(self.waiting))

    def _rows(self, *_args: object) -> Deferred[list[Any]]:
        self.fetched += len(self.waiting)
        return succeed([_row(data) for data in self.waiting])

    def start_all(self, chooser: BasicBuildChooser) -> list[int]:
        """Start builds as the distributor does; return the ids of their requests."""
        started = []
        while (chosen := result(chooser.chooseNextBuild()))[0]:
            self.room -= 1
            started.append(chosen[1][0].id)
        return started


def _row(data: dict[str, int]) -> SimpleNamespace:
    return SimpleNamespace(
        id=data["buildrequestid"], urgency=0.0, submitted_at=0, waited_for=0, **data
    )


def result(deferred: Deferred[Any]) -> Any:
    found: list[Any] = []
    deferred.addCallback(found.append)
    return found[0]
