# SPDX-License-Identifier: GPL-2.0-only
"""Which workers of a large pool are to exist."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from buildbot.interfaces import IWorker
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from latent_libvirt.config import PoolConfig
from latent_libvirt.master.master_cfg import Pool
from latent_libvirt.master.workers import possible
from latent_libvirt.master.workers.possible import (
    ALL,
    AT_FIRST,
    MOST_FREE,
    Demand,
    Group,
    PossibleWorker,
    are_made_on_demand,
    grouped,
    missing,
    unneeded,
)
from latent_libvirt.master.workers.worker import LibvirtLatentWorker

NAMES = [f"small-{number}" for number in range(1, 1001)]


def builder(name: str, workers: Iterable[str]) -> Any:
    return SimpleNamespace(name=name, workernames=list(workers))


def pool(max_vms: int) -> Pool:
    return Pool(
        PoolConfig.model_validate(
            {
                "master": {"max_vms": max_vms},
                "hosts": {"here": {"uri": "test:///default", "slots": 4, "storage_pool": "x"}},
                "labels": {"small": {"image": "debian-12"}},
            }
        )
    )


def services(names: Iterable[str] = NAMES) -> dict[str, Any]:
    return {
        name: PossibleWorker(name, pool="pool", label="small", make=LibvirtLatentWorker)
        for name in names
    }


class Manager:
    """What there is of Buildbot's manager of workers before a master runs."""

    running = False

    def __init__(self, *existing: str) -> None:
        self.namedServices: dict[str, Any] = dict.fromkeys(existing)
        self.master = SimpleNamespace(reactor=Clock())


def free(*free: bool) -> list[Any]:
    return [SimpleNamespace(is_free=is_free) for is_free in free]


def test_all_workers_of_a_small_pool_exist() -> None:
    assert {type(worker) for worker in pool(ALL).workers()} == {LibvirtLatentWorker}


def test_a_large_pool_lists_the_same_names_in_the_same_order() -> None:
    large = pool(ALL + 1)
    assert {type(worker) for worker in large.workers()} == {PossibleWorker}
    assert [worker.name for worker in large.workers()] == large.worker_names("small")


def test_buildbot_takes_a_possible_worker_for_one() -> None:
    (worker,) = services(["small-1"]).values()
    assert verifyObject(IWorker, worker)
    assert (worker.workername, worker.machine_name) == ("small-1", None)
    made = worker.made()
    assert (made.name, made.pool_name, made.fixed_label) == ("small-1", "pool", "small")
    assert [*worker.properties.properties] == [*made.properties.properties]


def test_without_what_it_relies_on_all_workers_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(possible, "RELIED_ON", ((Manager, "not_there"),))
    assert not are_made_on_demand(ALL + 1)
    assert {type(worker) for worker in pool(ALL + 1).workers()} == {LibvirtLatentWorker}


def test_the_first_workers_of_each_group_exist_at_first() -> None:
    demand = Demand(Manager())
    builders = [builder("one", NAMES[:500]), builder("other", NAMES[500:])]
    each = AT_FIRST // 2
    assert [*demand.existing(services(), builders)] == [*NAMES[:each], *NAMES[500 : 500 + each]]


def test_every_group_has_a_worker_however_many_groups_there_are() -> None:
    builders = [builder(name, [name]) for name in NAMES]
    assert [*Demand(Manager()).existing(services(), builders)] == NAMES


def test_a_reconfig_keeps_the_workers_that_exist() -> None:
    demand = Demand(Manager("small-900", *NAMES[:AT_FIRST]))
    found = demand.existing(services(), [builder("one", NAMES)])
    assert set(found) == {"small-900", *NAMES[:AT_FIRST]}
    assert {type(worker) for worker in found.values()} == {LibvirtLatentWorker}


def test_workers_that_no_builder_names_do_not_exist() -> None:
    assert Demand(Manager()).existing(services(), [builder("one", ["by-hand"])]) == {}


def test_other_workers_are_left_alone() -> None:
    others = {"by-hand": LibvirtLatentWorker("by-hand", label="small")}
    assert Demand(Manager()).existing({**others}, []) == others


def test_names_are_grouped_by_the_builders_that_have_them() -> None:
    builders = [builder("a", ["1", "2", "3"]), builder("b", ["3", "4"]), builder("c", ["3", "4"])]
    assert grouped(["4", "3", "2", "1", "0"], builders) == [["4"], ["3"], ["2", "1"]]


@pytest.mark.parametrize(
    ("existing", "more"),
    [
        (free(), 1),
        (free(True), 0),
        (free(False), 1),
        (free(False, False, True), 1),
        (free(False, False, True, True), 0),
        (free(*[False] * 100), MOST_FREE),
        (free(*[False] * 100, *[True] * MOST_FREE), 0),
    ],
)
def test_as_many_are_free_as_are_taken_up_to_a_bound(existing: list[Any], more: int) -> None:
    assert missing(existing) == more


@pytest.mark.parametrize(
    ("existing", "least", "fewer"),
    [
        (free(), 1, 0),
        (free(True), 1, 0),
        (free(True, True, True), 1, 2),
        (free(True, True, True), 2, 1),
        (free(False, False, True, True), 1, 0),
        (free(False, False, True, True, True), 1, 1),
        (free(*[False] * 100, *[True] * 100), 1, 100 - MOST_FREE),
        (free(*[False] * 100), 1, 0),
    ],
)
def test_as_many_may_go_as_leave_none_missing(existing: list[Any], least: int, fewer: int) -> None:
    assert unneeded(existing, least) == fewer
    stay = existing[: len(existing) - fewer]
    assert missing(stay) == missing(existing)


def group_of_five() -> tuple[Group, dict[str, Any]]:
    group = Group(list("abcdefg"))
    return group, {name: SimpleNamespace(name=name, is_free=True) for name in group.next(5)}


def test_what_a_burst_needs_now_and_then_stays() -> None:
    group, workers = group_of_five()
    assert group.unused(workers) == 0  # since when is not known
    workers["a"].is_free = workers["b"].is_free = False
    group.note_unused(workers)
    workers["a"].is_free = workers["b"].is_free = True
    assert group.unused(workers) == 1
    assert group.unused(workers) == 4


def test_the_last_that_are_free_are_taken_and_come_back_first() -> None:
    group, workers = group_of_five()
    workers["e"].is_free = False
    assert set(group.take(2, workers)) == {"c", "d"}
    assert [worker.name for worker in group.existing(workers)] == ["a", "b", "e"]
    assert group.next(3) == ["c", "d", "f"]


def test_none_is_taken_that_is_needed_by_now() -> None:
    group, workers = group_of_five()
    for name in "abc":
        workers[name].is_free = False
    assert not group.take(3, workers)


class Paused:
    """A worker of which Buildbot's database says once it is added that it is paused."""

    def __init__(self, name: str, *, paused: bool) -> None:
        self.name = name
        self.is_free = not paused

    def setServiceParent(self, manager: Any) -> Deferred[None]:  # noqa: N802 - Buildbot's
        manager.namedServices[self.name] = self
        return succeed(None)


def test_workers_that_are_paused_when_the_master_starts_get_others_added() -> None:
    paused = {*NAMES[: AT_FIRST + MOST_FREE]}
    manager = Manager()
    manager.running = True
    manager.master.botmaster = SimpleNamespace(builders={})
    demand = Demand(manager)
    services = {
        name: PossibleWorker(
            name,
            pool="pool",
            label="small",
            make=lambda name, **_: Paused(name, paused=name in paused),
        )
        for name in NAMES
    }
    manager.namedServices = demand.existing(services, [builder("one", NAMES)])
    demand.changed(*manager.namedServices)  # as after any start and reconfig
    manager.master.reactor.pump([0] * 20)

    free_ones = [worker for worker in manager.namedServices.values() if worker.is_free]
    assert MOST_FREE <= len(free_ones) < 2 * MOST_FREE
