# SPDX-License-Identifier: GPL-2.0-only
"""A build chooser for Buildbot's distributor: it asks no question that has an answer already.

Buildbot 4.3's own chooser (``buildbot/process/buildrequestdistributor.py``) notes once which
workers are available. When the pool's last room has been given away it goes on to ask each of them
about each waiting request, which holds up the master for minutes if thousands wait (buildbot
#3395), and it loads all waiting requests before it looks whether there is any worker at all. It
does the same when a lock is held, or when the label that a builder's requests ask for has no room.

Here workers are asked only if nothing is known to be in the way (``obstacles.py``). And when a
request is refused, all others are, that have the same values of what was read of it: a renderer of
locks or labels, ``nextWorker`` and ``canStartBuild`` are asked once for each label, or whatever
else they look at (``watched.py``, ``refusals.py``). Of requests in which more was read, a few are
looked at in one try; the next try, which follows at once, goes on where that one has stopped.

The end of a builder's turn (``pool/fair_share.py``) ends its search, too. And where a builder's
``nextWorker`` wants no worker for a request, Buildbot's looks at no other request (#6251, #4838);
here the request is passed over.

Which worker gets a request does not change, except that one whose VM idles comes first, and last if
that VM is of another label: a worker that is not available any more would have refused. Who has
room is decided in ``pool/admission.py``; what happens when other masters choose from the same
requests, in ``racing_chooser.py``.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from functools import partial, wraps
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from buildbot.data.base import ListResult
from buildbot.process.buildrequest import BuildRequestCollapser
from buildbot.process.buildrequestdistributor import BasicBuildChooser
from twisted.internet.defer import Deferred, inlineCallbacks, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger

from latent_libvirt.master.choosing.empty_queues import EmptyQueues
from latent_libvirt.master.choosing.obstacles import (
    fit,
    without_held_locks,
)
from latent_libvirt.master.choosing.prompt_tries import PromptTries
from latent_libvirt.master.choosing.racing_chooser import (
    RacingChooser,
    mix,
)
from latent_libvirt.master.choosing.refusals import Refusals
from latent_libvirt.master.choosing.rounds import (
    Rounds,
)
from latent_libvirt.master.choosing.watched import (
    Reads,
    WatchedRequest,
    unwatched,
)
from latent_libvirt.master.deadlines import (
    TooLateError,
    answer,
    why_resting,
)
from latent_libvirt.master.queue import build_requests
from latent_libvirt.upstream import relied_on

if TYPE_CHECKING:
    from latent_libvirt.master.choosing.fair_order import FairOrder
    from latent_libvirt.master.choosing.rounds import (
        Key,
    )

log = Logger()

RELIED_ON = (
    "_getBuildRequestForBrdict",
    "_getNextUnclaimedBuildRequest",
    "_popNextWorker",
    "canStartBuild",
)
"""Of Buildbot's chooser: an experimental interface, as it says itself."""

MOST_LOOKED_AT = 50
"""Requests of which each differs from the others, in one try; each costs some queries."""

MOST_BY_NEXT_BUILD = 1_000
"""The same where a ``nextBuild`` chooses from all requests, which are there as objects then."""

PAUSE = 0.1
"""Seconds until the next try goes on; other builders have their turn."""

SKIPPED_AT_ONCE = 2_000
"""Requests that are passed over before something else may happen in the master."""


class BuildChooser(RacingChooser):
    """Buildbot's chooser, which asks no more than it has to.

    :param rounds: where searches that are too long for one try go on.
    :param empty: the queues that need not be read.
    """

    breqCache: dict[int, Any]  # noqa: N815 - Buildbot's
    preferredWorkers: list[Any]  # noqa: N815 - Buildbot's
    workerpool: list[Any]
    nextWorker: Any  # noqa: N815
    nextBuild: Any  # noqa: N815

    def __init__(
        self,
        builder: Any,
        master: Any,
        *,
        order: FairOrder,
        rounds: Rounds | None = None,
        empty: EmptyQueues | None = None,
    ) -> None:
        super().__init__(builder, master)
        self._empty = empty or EmptyQueues(master.reactor)
        self._order = order
        self._rounds = rounds or Rounds()
        self._refusals: defaultdict[bool, Refusals] = defaultdict(Refusals)
        self._position = 0
        self._queue: Any = None
        self._row: Any = None
        if builder.config.nextWorker or master.config.select_next_worker:
            self.nextWorker = _in_time(builder, "nextWorker", self.nextWorker)
        else:
            self.nextWorker = _idle_first
        if self.nextBuild:
            self.nextBuild = _in_time(builder, "nextBuild", self.nextBuild)

    def popNextBuild(self) -> Deferred[tuple[Any, Any]]:
        """Return the next worker and its request; ``None`` for both if there is no such pair."""
        return Deferred.fromCoroutine(self._next_build())

    async def _next_build(self) -> tuple[Any, Any]:
        for _ in range(MOST_BY_NEXT_BUILD if self.nextBuild else MOST_LOOKED_AT):
            if why_resting(self.bldr) or not await self._has_worker():
                return None, None
            request = await self._getNextUnclaimedBuildRequest()
            if request is None:
                self._end_round()
                return None, None
            if not self._order.is_turn_of(self.bldr, self._row.urgency):
                return None, None
            worker = await self._worker_for(request)
            if worker is not None:
                return worker, request
        self._stop_for_now()
        return None, None

    def _stop_for_now(self) -> None:
        if not self.nextBuild:
            self._rounds.stop(self.bldr.name, _key(self._row))
            self._try_again()

    def _end_round(self) -> None:
        if self._rounds.end(self.bldr.name):
            self._try_again()

    def _try_again(self) -> None:
        distributor = self.master.botmaster.brd
        self.master.reactor.callLater(PAUSE, distributor.try_again, self.bldr.name)

    async def _has_worker(self) -> bool:
        self.workerpool = [*self.preferredWorkers, *self.workerpool]
        self.preferredWorkers = []
        return bool(await self._available())

    async def _available(self) -> list[Any]:
        available = [worker for worker in self.workerpool if worker.isAvailable()]
        return await without_held_locks(self.bldr, available)

    # The queue.

    @inlineCallbacks
    def _fetch_queue(self) -> Generator[Any, Any, None]:
        if self._empty.is_known(self.bldr.name):
            self._queue = []
            return
        builder, moment = (yield self.bldr.getBuilderId()), self._empty.moment
        self._queue = yield self.master.db.pool.do(build_requests.of_builder, builder)
        self._empty.read(self.bldr.name, moment, is_empty=not self._queue)
        after = None if self.nextBuild else self._rounds.after(self.bldr.name)
        if after is not None:
            self._queue = [row for row in self._queue if _key(row) > after]
        if self._race.is_on:
            mix(self._queue, attrgetter("urgency"))

    @inlineCallbacks
    def _getNextUnclaimedBuildRequest(  # noqa: N802 - Buildbot's
        self,
    ) -> Generator[Any, Any, Any]:
        """Return the next request that is not like one that was refused."""
        if self._queue is None:
            yield self._fetch_queue()
        if self.nextBuild:
            return (yield self._request_of_next_build())
        while self._position < len(self._queue):
            self._row = self._queue[self._position]
            self._position += 1
            if not self._is_like_refused(self._row):
                request = yield self._getBuildRequestForBrdict(build_requests.as_data(self._row))
                self.breqCache.clear()
                if request is not None:
                    return request
            elif self._position % SKIPPED_AT_ONCE == 0:
                yield deferLater(self.master.reactor, 0, lambda: None)
        return None

    @inlineCallbacks
    def _request_of_next_build(self) -> Generator[Any, Any, Any]:
        """Let the ``nextBuild`` of a builder choose; it wants all requests as objects."""
        oldest_first = sorted(self._queue, key=attrgetter("id"))
        self._queue = [row for row in oldest_first if not self._is_done(row)]
        self.unclaimedBrdicts = ListResult(map(build_requests.as_data, self._queue))
        request = yield super()._getNextUnclaimedBuildRequest()
        if request is not None:
            self._row = next(row for row in self._queue if row.id == request.id)
        return request

    def _is_done(self, row: Any) -> bool:
        return row is self._row or self._is_like_refused(row)

    def _is_like_refused(self, row: Any) -> bool:
        # What is kept for those that are waited for is not for others.
        return self._refusals[bool(row.waited_for)].cover(row.buildsetid)

    # The workers.

    async def _worker_for(self, request: Any) -> Any:
        """Return a worker that can build *request*; the others may have the next one."""
        reads = Reads()
        everybody = self.workerpool
        self.workerpool = await self._able(await self._available(), request, reads)
        worker = await self._choose(request, reads)
        self.workerpool = [other for other in everybody if other is not worker]
        if worker is None:
            await self._note_refusal(request, reads)
        return worker

    async def _able(self, workers: list[Any], request: Any, reads: Reads) -> list[Any]:
        """Return those of *workers* that nothing is known to keep from building *request*.

        An error is a refusal: Buildbot's chooser would look at no other request of the builder, now
        and at each try.
        """
        what = "a renderer of locks or label"
        try:
            found = await answer(
                self.bldr,
                what,
                lambda: Deferred.fromCoroutine(fit(self.bldr, workers, request, reads)),
            )
            return list(found)
        except TooLateError:
            return []
        except Exception:  # noqa: BLE001 - a renderer of master.cfg
            self._cannot_tell(request)
            return []

    async def _choose(self, request: Any, reads: Reads) -> Any:
        watched = WatchedRequest(request, reads)
        while worker := await self._popNextWorker(watched):
            if await self._is_able(worker, request, reads) and await self._asked(worker, watched):
                return worker
        return None

    async def _is_able(self, worker: Any, request: Any, reads: Reads) -> bool:
        """Whether that is still so: another one may have been asked for the last room."""
        return worker.isAvailable() and bool(await self._able([worker], request, reads))

    async def _asked(self, worker: Any, request: WatchedRequest) -> bool:
        ask = partial(self.canStartBuild, worker, request)
        try:
            return bool(await answer(self.bldr, "canStartBuild", ask))
        except TooLateError:
            return False
        except Exception:  # noqa: BLE001 - a function of master.cfg
            self._cannot_tell(unwatched(request))
            return False

    def _cannot_tell(self, request: Any) -> None:
        log.failure(
            "builder {builder}: whether request {id} can start is not known",
            builder=self.bldr.name,
            id=request.id,
        )

    async def _note_refusal(self, request: Any, reads: Reads) -> None:
        """Remember that nobody wanted *request*, so that those like it are not looked at."""
        if reads.more:
            return
        refusals = self._refusals[bool(self._row.waited_for)]
        if unknown := refusals.unknown(reads.names):
            builder = await self.bldr.getBuilderId()
            values = await self.master.db.pool.do(build_requests.values, builder, unknown)
            refusals.learn(values)
        refusals.add(request.bsid, reads.names)


def _in_time(builder: Any, what: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return *function*, whose answer comes in time or is an error."""

    def ask(*arguments: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(answer(builder, what, partial(function, *arguments)))

    return ask


def _key(row: Any) -> Key:
    return -row.urgency, row.id


def _idle_first(_builder: Any, workers: list[Any], _request: Any) -> Any:
    """Return any worker, as Buildbot does, but one with an idle VM if there is one that suits."""
    if not workers:
        return None
    best = min(map(_rank, workers))
    return random.choice([w for w in workers if _rank(w) == best])  # noqa: S311 - no secret


def _rank(worker: Any) -> int:
    if not getattr(worker.worker, "has_idle_vm", False):
        return 1
    return 0 if worker.worker.idle_vm_suits else 2


def install(distributor: Any, order: FairOrder) -> None:
    """Let *distributor* use this chooser, unless somebody has given it another than Buildbot's."""
    if relied_on.are_there(
        [(BasicBuildChooser, name) for name in RELIED_ON],
        does="chooses builds",
        otherwise="builders do not take turns, and thousands of waiting requests are slow",
    ) and distributor.BuildChooser in (BasicBuildChooser, RacingChooser):
        rounds, reactor = Rounds(), distributor.master.reactor
        empty = EmptyQueues(reactor, announced=PromptTries(distributor, reactor).hear)
        empty.listen(distributor.master)
        distributor.BuildChooser = partial(BuildChooser, order=order, rounds=rounds, empty=empty)
        _note_who_asks(distributor, rounds)
        _look_at_no_queue_in_vain()


def _note_who_asks(distributor: Any, rounds: Rounds) -> None:
    """Let *rounds* know who wants builders to be tried, other than a round that goes on."""
    original = distributor.maybeStartBuildsOn

    @wraps(original)
    def start_builds_on(builders: Sequence[str]) -> Any:
        rounds.asked(builders)
        return original(builders)

    distributor.maybeStartBuildsOn = start_builds_on
    distributor.try_again = lambda builder: original([builder])


def _look_at_no_queue_in_vain() -> None:
    """Let a request that is added to a builder that collapses none cost nothing for the others.

    Buildbot 4.3 loads all of them before it looks whether the builder is to collapse requests. And
    it loads the new request and its builder, even if no builder of the master collapses any.
    """
    _ask_nothing_where_none_collapses()
    original = getattr(BuildRequestCollapser, "_getUnclaimedBrs", None)
    if original is None or hasattr(BuildRequestCollapser, "_looks_first"):
        return

    @wraps(original)
    @inlineCallbacks
    def unclaimed(self: Any, builderid: int) -> Generator[Any, Any, Any]:
        # A reconfig may add and remove builders while one of them asks the database for its id.
        for builder in tuple(self.master.botmaster.builders.values()):
            if (yield builder.getBuilderId()) == builderid and not builder.getCollapseRequestsFn():
                return []
        return (yield original(self, builderid))

    BuildRequestCollapser._getUnclaimedBrs = unclaimed  # noqa: SLF001
    BuildRequestCollapser._looks_first = True  # noqa: SLF001


def _ask_nothing_where_none_collapses() -> None:
    original = getattr(BuildRequestCollapser, "collapse", None)
    if original is None or hasattr(BuildRequestCollapser, "_asks_builders_first"):
        return

    @wraps(original)
    def collapse(self: Any) -> Any:
        builders = self.master.botmaster.builders.values()
        # A builder that a reconfig adds has no configuration at first.
        if all(b.config is not None and not b.getCollapseRequestsFn() for b in builders):
            return succeed([])
        return original(self)

    BuildRequestCollapser.collapse = collapse
    BuildRequestCollapser._asks_builders_first = True  # noqa: SLF001
