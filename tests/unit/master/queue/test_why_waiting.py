# SPDX-License-Identifier: GPL-2.0-only
"""What the explanation of many waiting requests asks, and how often: of a real pool, on paper.

Builders and workers are made up: what is counted are the questions to them. Those of a real master
are in tests/integration.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import util
from buildbot.process.botmaster import BotMaster

from latent_libvirt.master.queue.build_requests import WaitingRequest
from latent_libvirt.master.queue.waiting import WaitingRequests
from latent_libvirt.master.queue.why_waiting import Explainer, Explanation
from paper_pool import PaperPool, config_of
from synchronous import all_of


def _worker(pool: PaperPool, name: str, label: str) -> Any:
    worker = SimpleNamespace(
        name=name,
        workername=name,
        pool_name=pool.name,
        fixed_label=label,
        has_one_answer=True,
        quarantine_timer=None,
        _graceful=False,
        isPaused=lambda: False,
        may_start=lambda _has_room: True,
        locksAvailable=lambda: True,
    )
    return SimpleNamespace(worker=worker, isBusy=lambda: False)


class Build:
    """A build that has a lock, whichever."""

    _locks_to_acquire = (object(),)

    def __init__(self, builder: Any, number: int) -> None:
        self.builder = builder
        self.number = self.buildid = number


class Master:
    """A master whose builder ``check`` has workers of a pool.

    :ivar looks: how often somebody has looked at the locks of a worker.
    """

    def __init__(self, pool: PaperPool, *labels: str, locks: Any = None) -> None:
        self.botmaster: Any = BotMaster()
        self.looks = 0
        self._look = self.botmaster.getLockFromLockAccesses
        self.botmaster.getLockFromLockAccesses = self._count
        self.config = SimpleNamespace(select_next_worker=None)
        self.workers = SimpleNamespace(workers={})
        self.db: Any = None
        self.reactor = pool.clock
        self.building: list[Build] = []
        self.builder = self.add(pool, *labels, name="check", locks=locks)

    def add(self, pool: PaperPool, *labels: str, name: str = "", locks: Any = None) -> Any:
        """Add a builder with a worker for each label, whose name it has if it has no other."""
        config = SimpleNamespace(locks=locks, canStartBuild=None, nextWorker=None, nextBuild=None)
        name = name or labels[0]
        builder = self.botmaster.builders[name] = SimpleNamespace(
            name=name,
            master=self,
            botmaster=self.botmaster,
            config=config,
            config_version=1,
            building=self.building,
            workers=[_worker(pool, f"{label}-{n}", label) for n, label in enumerate(labels)],
        )
        return builder

    def _count(self, *args: Any) -> Any:
        self.looks += 1
        return self._look(*args)

    async def claim(self, worker: str, lock: Any, owner: object) -> None:
        """Let *owner* have what *worker* has of *lock*."""
        real = (await self.botmaster.getLockByID(lock, 1)).getLockForWorker(worker)
        if not real.owners:
            real.claim(owner, lock.access("exclusive"))

    def begin(self, number: int) -> Build:
        """Begin a build."""
        self.building.append(Build(self.builder, number))
        return self.building[-1]


def _request(number: int = 1, *, parent: int | None = None) -> WaitingRequest:
    return WaitingRequest(number, "check", 0, 100.0, parent=parent)


async def _explained(
    pool: PaperPool, master: Master, *requests: WaitingRequest
) -> tuple[Explanation, ...]:
    return await Explainer(master, pool).explain(list(requests or [_request()]))


class Waiting(WaitingRequests):
    """What waits, as the test says it: the database is asked in test_waiting.py."""

    def __init__(self, pool: PaperPool, master: Master, *requests: WaitingRequest) -> None:
        asked = iter([{}, list(requests)])

        async def do(_question: Any) -> Any:
            return next(asked)

        master.db = SimpleNamespace(pool=SimpleNamespace(do=do))
        super().__init__(master, pool.name, Explainer(master, pool))


@pytest_twisted.ensureDeferred
async def test_slots_are_saved_although_a_request_waits_whose_room_is_kept_for_children() -> None:
    caps: dict[str, object] = {"reserve_for_children": 1, "max_vms": 2}
    pool = PaperPool(config_of(hosts=("alpha",), slots=2, max_vms=2, one=caps))
    pool.building("one")
    master = Master(pool, "one")
    waiting = Waiting(pool, master, _request())

    await waiting.refresh()

    assert [each.reason.kind for each in waiting.explanations] == ["cap"]
    assert waiting.labels_of_next == frozenset()
    pool.waiting = {*waiting.labels_of_next}
    all_of(pool.state_saver.tidy())
    assert len(list(pool.state_saver)) == 1


@pytest_twisted.ensureDeferred
async def test_a_request_that_a_build_waits_for_is_the_next_to_have_what_is_kept_for_it() -> None:
    caps: dict[str, object] = {"reserve_for_children": 1, "max_vms": 2}
    pool = PaperPool(config_of(hosts=("alpha",), slots=2, max_vms=2, one=caps))
    pool.building("one")
    waiting = Waiting(pool, Master(pool, "one"), _request(1), _request(2, parent=7))

    await waiting.refresh()

    assert [each.reason.kind for each in waiting.explanations] == ["cap", "next"]
    assert waiting.labels_of_next == {"one"}


@pytest.mark.parametrize("kind", [util.MasterLock, util.WorkerLock])
@pytest_twisted.ensureDeferred
async def test_the_locks_of_a_worker_are_looked_at_once_however_many_parents_have_locks(
    kind: Any,
) -> None:
    lock = kind("release")
    pool = PaperPool(config_of(one={}))
    master = Master(pool, *["one"] * 5, locks=[lock.access("exclusive")])
    for number in range(5):
        await master.claim(f"one-{number}", lock, "somebody else")
    for number in range(20):
        master.begin(number)

    explained = await _explained(pool, master, *(_request(n, parent=n) for n in range(20)))

    assert {each.reason.text for each in explained} == {"lock release is held by somebody else"}
    assert master.looks == 5


@pytest.mark.parametrize(("owned", "kind"), [(2, "circle"), (1, "lock")])
@pytest_twisted.ensureDeferred
async def test_a_parent_is_in_a_circle_if_it_has_a_lock_of_each_worker(
    owned: int, kind: str
) -> None:
    lock = util.WorkerLock("disk")
    pool = PaperPool(config_of(one={}))
    master = Master(pool, "one", "one", locks=[lock.access("exclusive")])
    parent, other = master.begin(7), master.begin(8)
    for number in range(2):
        owner = parent if number < owned else other
        await master.claim(f"one-{number}", lock, owner)

    explained = await _explained(pool, master, _request(1, parent=7), _request(2, parent=8))

    assert [each.reason.kind for each in explained] == [kind, "lock"]
    assert all(each.reason.text.startswith("lock disk is held by check #7") for each in explained)


@pytest_twisted.ensureDeferred
async def test_what_may_be_evicted_is_looked_at_once_for_all_labels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labels = ("a", "b", "c")
    pool = PaperPool(config_of(slots=1, max_vms=2, spare={"spares": 2}, a={}, b={}, c={}))
    pool.tidy()
    looks: list[int] = []
    evictable = pool.allocator.evictable

    def look() -> Any:
        looks.append(1)
        return evictable()

    monkeypatch.setattr(pool.allocator, "evictable", look)
    master = Master(pool)
    for label in labels:
        master.add(pool, label)

    requests = [replace(_request(), builder=label) for label in labels]
    explained = await _explained(pool, master, *requests)

    assert [(each.labels, each.reason.kind) for each in explained] == [
        (("a",), "next"),
        (("b",), "next"),
        (("c",), "next"),
    ]
    assert len(looks) == 1
