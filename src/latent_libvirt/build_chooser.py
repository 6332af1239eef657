# SPDX-License-Identifier: GPL-2.0-only
"""How Buildbot's distributor goes through waiting requests, without going on when room is gone.

Buildbot 4.3's own chooser (``buildbot/process/buildrequestdistributor.py``) notes once which
workers are available. When the pool's last room has been given away it goes on to ask each of them
about each waiting request, which holds up the master for minutes if thousands wait (buildbot
#3395), and it loads all waiting requests before it looks whether there is any worker at all.

The end of a builder's turn (``turns.py``) ends its search, too. And where a builder's
``nextWorker`` wants no worker for a request, Buildbot's looks at no other request (#6251, #4838);
here the request is passed over.

Which worker gets a request does not change, except that one whose VM idles comes first: a worker
that is not available any more would have refused. Who has room is decided in ``pool.py``; what
happens when other masters choose from the same requests, in ``racing_chooser.py``.
"""

from __future__ import annotations

import random
from collections.abc import Generator
from functools import partial
from typing import Any

import buildbot
from buildbot.process.buildrequestdistributor import BasicBuildChooser
from twisted.internet.defer import inlineCallbacks
from twisted.logger import Logger

from latent_libvirt.fair_order import FairOrder
from latent_libvirt.racing_chooser import RacingChooser

log = Logger()

RELIED_ON = (
    "_fetchUnclaimedBrdicts",
    "_getNextUnclaimedBuildRequest",
    "_popNextWorker",
    "_removeBuildRequest",
    "canStartBuild",
)
"""Of Buildbot's chooser: an experimental interface, as it says itself."""

MOST_PASSED_OVER = 1_000
"""Requests that ``nextWorker`` may refuse in one go; each costs some queries of the database."""


class BuildChooser(RacingChooser):
    """Buildbot's chooser, which asks again whether a worker is available."""

    preferredWorkers: list[Any]  # noqa: N815 - Buildbot's
    workerpool: list[Any]

    def __init__(self, builder: Any, master: Any, *, order: FairOrder) -> None:
        super().__init__(builder, master)
        self._order = order
        if not (builder.config.nextWorker or master.config.select_next_worker):
            self.nextWorker = _idle_first

    @inlineCallbacks
    def popNextBuild(self) -> Generator[Any, Any, tuple[Any, Any]]:
        """Return the next worker and its request; ``None`` for both if there is no such pair."""
        for _ in range(MOST_PASSED_OVER):
            if not self._has_worker():
                break
            request = yield self._getNextUnclaimedBuildRequest()
            if not request or not self._order.is_turn_of(self.bldr, request.priority):
                break
            self._removeBuildRequest(request)
            worker = yield self._worker_for(request)
            if worker is not None:
                return worker, request
        return None, None

    def _has_worker(self) -> bool:
        self.workerpool = [*self.preferredWorkers, *self.workerpool]
        self.preferredWorkers = []
        return any(worker.isAvailable() for worker in self.workerpool)

    @inlineCallbacks
    def _worker_for(self, request: Any) -> Generator[Any, Any, Any]:
        """Return a worker that can build *request*; the others may have the next one."""
        refused = []
        while worker := (yield self._popNextWorker(request)):
            if worker.isAvailable():
                if (yield self._may_start(worker, request)):
                    break
                refused.append(worker)
        self.workerpool += refused
        return worker

    @inlineCallbacks
    def _may_start(self, worker: Any, request: Any) -> Generator[Any, Any, bool]:
        """Return whether *worker* can build *request*; an error of who is asked is a refusal.

        Buildbot's chooser would look at no other request of the builder, now and at each try.
        """
        try:
            return bool((yield self.canStartBuild(worker, request)))
        except Exception:  # noqa: BLE001 - a function or a renderer of master.cfg
            log.failure(
                "builder {builder}: whether request {id} can start cannot be told",
                builder=self.bldr.name,
                id=request.id,
            )
            return False


def _idle_first(_builder: Any, workers: list[Any], _request: Any) -> Any:
    """Return any worker, as Buildbot does, but one with an idle VM if there is one."""
    idle = [worker for worker in workers if getattr(worker.worker, "has_idle_vm", False)]
    return random.choice(idle or workers) if workers else None  # noqa: S311 - it is no secret


def install(distributor: Any, order: FairOrder) -> None:
    """Let *distributor* use this chooser, unless somebody has given it another than Buildbot's."""
    missing = [name for name in RELIED_ON if not hasattr(BasicBuildChooser, name)]
    if missing:
        log.warn(
            "Buildbot {version} chooses builds in another way than 4.3 ({missing} is not there): "
            "builders do not take turns, and thousands of waiting requests are slow",
            version=buildbot.version,
            missing=", ".join(missing),
        )
    elif distributor.BuildChooser in (BasicBuildChooser, RacingChooser):
        distributor.BuildChooser = partial(BuildChooser, order=order)
