# SPDX-License-Identifier: GPL-2.0-only
"""Workers of a large pool that exist once they are of use: others are names that a master knows.

A pool has a worker for each VM that a label may have at once. Each costs Buildbot 4.3 memory, five
transactions of its database when the master starts, and a look whenever something happens. So
``c["workers"]`` of a large pool has a :class:`PossibleWorker` for each. Buildbot has those of them
that have a VM, and a few more of each group of workers that the same builders name. Those that a
burst of builds has needed, and none since, are taken away again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import wraps
from typing import Any, Final
from weakref import WeakKeyDictionary

from buildbot.interfaces import IWorker
from buildbot.process.properties import Properties
from buildbot.worker.manager import WorkerManager
from twisted.internet.defer import Deferred, DeferredLock, gatherResults
from twisted.logger import Logger
from zope.interface import implementer

from latent_libvirt.deferreds import in_background
from latent_libvirt.master.workers import rows
from latent_libvirt.upstream import relied_on

log = Logger()

RELIED_ON: Final = (
    (WorkerManager, "get_service_config"),
    (WorkerManager, "reconfigServiceWithBuildbotConfig"),
)

ALL: Final = 200
"""Workers of a pool that all exist from the start on."""

AT_FIRST: Final = 50
"""Workers of larger pools that exist from the start on, but at least one of each group."""

AGAIN_AFTER: Final = 10.0
"""Seconds until a worker that could not be added is tried again."""

MOST_FREE: Final = 16
"""Workers of a group that exist without a build at most, unless they exist already."""

KEPT: Final = 600.0
"""Seconds for which more workers have to be free than a group needs, until they are taken away."""


@implementer(IWorker)
class PossibleWorker:
    """A worker as a ``master.cfg`` lists it, which makes the real one when that is of use.

    :param make: makes a real one from a name, and the keywords ``pool`` and ``label``.
    """

    __slots__ = ("_make", "fixed_label", "name", "pool_name")

    machine_name = None
    properties = Properties(workername=None)
    """The properties that it sets of builds: only their names count."""

    def __init__(self, name: str, *, pool: str, label: str, make: Callable[..., Any]) -> None:
        self.name = name
        self.pool_name = pool
        self.fixed_label = label
        self._make = make

    @property
    def workername(self) -> str:
        """Its name, as Buildbot's configuration asks for it."""
        return self.name

    def made(self) -> Any:
        """Return the real one."""
        return self._make(self.name, pool=self.pool_name, label=self.fixed_label)


def are_made_on_demand(count: int) -> bool:
    """Whether *count* workers of a pool are too many to exist all, and Buildbot can do without."""
    return count > ALL and install()


def install() -> bool:
    """Let masters of this process make workers on demand; return whether they can."""
    can = relied_on.are_there(
        RELIED_ON, does="starts workers", otherwise="all workers of a large pool exist"
    )
    if can and not hasattr(WorkerManager, "_latent_libvirt"):
        WorkerManager._latent_libvirt = True  # noqa: SLF001 - ours
        _wrap()
    return can


def _wrap() -> None:
    choose = WorkerManager.get_service_config
    reconfig = WorkerManager.reconfigServiceWithBuildbotConfig

    @wraps(choose)
    def get_service_config(self: Any, new_config: Any) -> dict[str, Any]:
        return of(self).existing(choose(self, new_config), new_config.builders)

    @wraps(reconfig)
    def reconfig_service(self: Any, new_config: Any) -> Any:
        # A worker that is being added could be configured twice.
        return of(self).lock.run(lambda: Deferred.fromCoroutine(prepared(self, new_config)))

    async def prepared(manager: Any, new_config: Any) -> None:
        existing = manager.get_service_config(new_config)
        await of(manager).write_rows(existing, new_config.builders)
        await reconfig(manager, new_config)
        of(manager).changed(*existing)

    WorkerManager.get_service_config = get_service_config
    WorkerManager.reconfigServiceWithBuildbotConfig = reconfig_service


_demands: WeakKeyDictionary[Any, Demand] = WeakKeyDictionary()
"""By Buildbot's manager of workers, one for each master of this process."""


def of(manager: Any) -> Demand:
    """Return the demand for workers of a master.

    :param manager: ``master.workers``.
    """
    return _demands.setdefault(manager, Demand(manager))


class Group:
    """Workers that the same builders name, any of which is as good as another.

    :param least: how many of them exist at least.
    """

    def __init__(self, names: list[str], least: int = 1) -> None:
        self.names = names
        self.least = least
        self._first = 0
        self._unused: int | None = None

    def existing(self, workers: Mapping[str, Any]) -> list[Any]:
        """Return those that exist."""
        return [workers[name] for name in self.names[: self._first] if name in workers]

    def next(self, count: int) -> list[str]:
        """Return the names of more that are to exist, as many as there are up to *count*."""
        names = self.names[self._first : self._first + count]
        self._first += len(names)
        return names

    def note_unused(self, workers: Mapping[str, Any]) -> int:
        """Note how many more exist now than are needed; return that number."""
        now = unneeded(self.existing(workers), self.least)
        if self._unused is not None:
            self._unused = min(self._unused, now)
        return now

    def unused(self, workers: Mapping[str, Any]) -> int:
        """Return how many more have existed than were needed ever since this was asked last."""
        now, before = self.note_unused(workers), self._unused
        self._unused = now
        return 0 if before is None else min(before, now)

    def take(self, count: int, workers: Mapping[str, Any]) -> dict[str, Any]:
        """Return up to *count* that are not needed, by name; they count as not there any more."""
        existing = self.existing(workers)
        count = min(count, unneeded(existing, self.least))
        last = [worker for worker in reversed(existing) if worker.is_free][:count]
        taken = {worker.name: worker for worker in last}
        there, others = self.names[: self._first], self.names[self._first :]
        stay = [name for name in there if name not in taken]
        self.names = [*stay, *(name for name in there if name in taken), *others]
        self._first = len(stay)
        return taken

    def put_first(self, workers: Collection[str]) -> list[str]:
        """Put those of *workers* first, which exist already; return their names."""
        found = [name for name in self.names if name in workers]
        self.names = [*found, *(name for name in self.names if name not in workers)]
        return self.next(len(found))


class Demand:
    """The possible workers of a master, and which of them are to exist.

    :ivar lock: held while workers are added.
    """

    def __init__(self, manager: Any) -> None:
        self._manager = manager
        self._possible: dict[str, PossibleWorker] = {}
        self._groups: dict[str, Group] = {}
        self._looks: set[Group] = set()
        self._sweep: Any = None
        self.lock = DeferredLock()

    def __contains__(self, name: str) -> bool:
        """Whether a worker of that name is possible, or exists although the pool is large."""
        return name in self._possible

    def existing(self, services: dict[str, Any], builders: Iterable[Any]) -> dict[str, Any]:
        """Return those of *services* that are to exist; the others are possible from now on.

        :param services: what a configuration has in ``c["workers"]``, by name.
        :param builders: the configurations of the master's builders.
        """
        self._possible = {
            name: worker for name, worker in services.items() if isinstance(worker, PossibleWorker)
        }
        chosen = set(self._arrange(builders))
        return {
            name: worker.made() if name in chosen else worker
            for name, worker in services.items()
            if name in chosen or name not in self._possible
        }

    def add(self, workers: Iterable[PossibleWorker], builders: Iterable[Any]) -> None:
        """Let *workers* be possible, too.

        :param builders: the configurations of all builders.
        """
        self._possible.update({worker.name: worker for worker in workers})
        self._start(self._arrange(builders))

    def _arrange(self, builders: Iterable[Any]) -> list[str]:
        """Sort the possible workers into groups; return the names of those that are to exist."""
        found = grouped(self._possible, builders)
        groups = [Group(names, max(1, AT_FIRST // len(found))) for names in found]
        self._groups = {name: group for group in groups for name in group.names}
        names = []
        for group in groups:
            exist = group.put_first(self._manager.namedServices)
            names += [*exist, *group.next(group.least - len(exist))]
        return names

    def changed(self, *names: str) -> None:
        """See to it soon that there is another worker for the next build.

        :param names: of workers that are taken, or rest, or are there now. The last may be paused:
            Buildbot learns that from its database.
        """
        for group in {self._groups[name] for name in names if name in self._groups} - self._looks:
            self._looks.add(group)
            self._manager.master.reactor.callLater(0, self._look, group)

    def _look(self, group: Group) -> None:
        self._looks.discard(group)
        workers = self._manager.namedServices
        self._start(group.next(missing(group.existing(workers))))
        if group.note_unused(workers):
            self._sweep_later()

    def _sweep_later(self) -> None:
        if self._sweep is None and self._manager.running:
            self._sweep = self._manager.master.reactor.callLater(KEPT, self._sweep_now)

    def _sweep_now(self) -> None:
        """Take away what was not needed since the last time."""
        self._sweep = None
        workers, groups = self._manager.namedServices, set(self._groups.values())
        counts = {group: group.unused(workers) for group in groups}
        if any(group.note_unused(workers) for group in groups):
            self._sweep_later()
        if any(counts.values()):
            removal = self.lock.run(lambda: Deferred.fromCoroutine(self._remove(counts)))
            in_background(removal, "workers that are not needed cannot be taken away")

    async def _remove(self, counts: Mapping[Group, int]) -> None:
        """Take workers away as a reconfig does that does not list them any more."""
        workers, botmaster = self._manager.namedServices, self._manager.master.botmaster
        # Buildbot chooses among the workers that it has found free at the beginning of a try.
        async with botmaster.brd.activity_lock:
            taken: dict[str, Any] = {}
            for group, count in counts.items():
                taken |= group.take(count, workers)
            for builder in botmaster.builders.values():
                builder.workers = [wfb for wfb in builder.workers if wfb.worker.name not in taken]
        for name, worker in taken.items():
            await in_background(worker.disownServiceParent(), f"worker {name} cannot be removed")

    def _start(self, names: Collection[str]) -> None:
        if names and self._manager.running:
            add = self.lock.run(lambda: Deferred.fromCoroutine(self._add(names)))
            in_background(add, "workers cannot be added")

    async def _add(self, names: Collection[str]) -> None:
        """Add workers, unless a reconfig has done so, or has taken them away."""
        known = self._manager.namedServices
        wanted = [name for name in names if name in self._possible and name not in known]
        workers = {name: self._possible[name].made() for name in wanted}
        builders = self._manager.master.botmaster.builders.values()
        await self.write_rows(workers, [each.config for each in builders if each.config])
        await gatherResults(
            [Deferred.fromCoroutine(self._added(each)) for each in workers.values()]
        )
        self.changed(*workers)

    async def _added(self, worker: Any) -> None:
        """Add a worker; if that fails, take it away again, and try it later."""
        try:
            await worker.setServiceParent(self._manager)
        except Exception:  # noqa: BLE001 - whatever the database says
            log.failure("worker {name} cannot be added", name=worker.name)
            # Its stop says in the database that no builder has it, which must not come later.
            await in_background(
                worker.disownServiceParent(), f"worker {worker.name} cannot be removed"
            )
            self._manager.master.reactor.callLater(AGAIN_AFTER, self._start, [worker.name])

    async def write_rows(self, workers: Mapping[str, Any], builders: Iterable[Any]) -> None:
        """Write all at once what Buildbot would write of each of a pool's *workers*.

        :param builders: the configurations of the master's builders.
        """
        of_worker: dict[str, list[str]] = {
            name: [] for name, worker in workers.items() if hasattr(worker, "pool_name")
        }
        for builder in builders:
            for name in of_worker.keys() & builder.workernames:
                of_worker[name].append(builder.name)
        for kind in {type(workers[name]) for name in of_worker}:
            its = {name: of_worker[name] for name in of_worker if type(workers[name]) is kind}
            await in_background(self._write(kind, its), "Buildbot writes its workers one by one")

    async def _write(self, kind: type, workers: rows.Builders) -> None:
        known = self._manager.namedServices
        await self._manager.master.db.pool.do(
            rows.write,
            self._manager.master.masterid,
            workers,
            service=f"{kind.__module__}.{kind.__name__}",
            absent=[n for n in self._possible if n not in workers and n not in known],
        )


def missing(existing: Collection[Any]) -> int:
    """Return how many workers of a group are to be added to those that exist.

    As many are to be free as are taken, so that a burst of builds soon finds enough of them.
    """
    free = len([worker for worker in existing if worker.is_free])
    return max(0, min(MOST_FREE, max(1, len(existing) - free)) - free)


def unneeded(existing: Collection[Any], least: int) -> int:
    """Return how many workers of a group may go, so that none is missing then, and *least* stay."""
    free = len([worker for worker in existing if worker.is_free])
    wanted = min(MOST_FREE, max(1, len(existing) - free))
    return max(0, min(free - wanted, len(existing) - least))


def grouped(names: Iterable[str], builders: Iterable[Any]) -> list[list[str]]:
    """Return *names* by the builders that have them among their ``workernames``, in their order."""
    listed: dict[str, tuple[int, ...]] = {}
    same: dict[tuple[int, ...], tuple[int, ...]] = {}  # so that many names share few tuples
    for number, workers in enumerate({tuple(builder.workernames) for builder in builders}):
        for name in workers:
            numbers = (*listed.get(name, ()), number)
            listed[name] = same.setdefault(numbers, numbers)
    groups: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for name in names:
        if name in listed:
            groups[listed[name]].append(name)
    return list(groups.values())
