# SPDX-License-Identifier: GPL-2.0-only
"""The explanation of each waiting request: everything that holds it, in one sentence.

Status, metrics and log all show what is said here. It asks what Buildbot's distributor would ask,
and changes nothing: no room is taken, and no function of a ``master.cfg`` is called but renderers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from buildbot.interfaces import IRenderable
from buildbot.process.build import Build
from buildbot.process.buildrequest import BuildRequest
from buildbot.process.properties import Properties
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.master.deadlines import (
    in_time,
    why_resting,
)
from latent_libvirt.master.queue.lock_owners import may_hold_locks, owners_among
from latent_libvirt.master.queue.workers_of_builder import WorkersOfBuilder, some
from latent_libvirt.pool.reasons import (
    NoRoom,
    Reason,
    RoomFacts,
)

if TYPE_CHECKING:
    from latent_libvirt.master.queue.build_requests import WaitingRequest
    from latent_libvirt.pool.lease import Lease
    from latent_libvirt.pool.room.amounts import Size
    from latent_libvirt.pool.room.capacity import Wanted
    from latent_libvirt.pool.vm_pool import VmPool

log = Logger()

MOST_RENDERED = 50
"""Requests in one go whose label or locks their properties decide; each costs some queries."""


@dataclass(frozen=True)
class Explanation:
    """Why a request waits.

    :param labels: what VMs it could get; empty if they are not known yet.
    :param kept: those of the labels whose room is kept for requests that a build waits for.
    """

    request: WaitingRequest
    labels: tuple[str, ...]
    reason: Reason
    kept: frozenset[str] = frozenset()


@dataclass
class _Wants:
    """What a request wants, as its properties have it. They never change.

    :param vms: the labels, each with the size that the request chooses.
    """

    vms: tuple[tuple[str, Size | None], ...] = ()
    locks: Any = None

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(label for label, _size in self.vms)


@dataclass
class _Moment:
    """What is the same for all requests of one go."""

    facts: RoomFacts
    would_have: Callable[[Collection[Wanted]], frozenset[Wanted]]
    known: frozenset[Wanted]
    is_kept_for_children: Callable[[str], bool]
    parents: frozenset[int]
    holders: Mapping[int | None, Any]
    builds: Mapping[str, Any]
    leases: Mapping[str, Lease]
    asked: set[Wanted] = field(default_factory=set)
    with_room: set[Wanted] = field(default_factory=set)
    no_room: dict[Wanted, NoRoom | None] = field(default_factory=dict)
    builders: dict[str, WorkersOfBuilder] = field(default_factory=dict)
    reasons: dict[tuple[object, ...], Reason] = field(default_factory=dict)
    kept: dict[str, bool] = field(default_factory=dict)
    rooms: dict[tuple[object, ...], Reason | None] = field(default_factory=dict)
    held: dict[Any, str] = field(default_factory=dict)

    def is_kept(self, label: str) -> bool:
        """Whether what there is of *label* is only for requests that a build waits for."""
        if label not in self.kept:
            self.kept[label] = self.is_kept_for_children(label)
        return self.kept[label]

    def kept_from(self, request: WaitingRequest, labels: Iterable[str]) -> frozenset[str]:
        """Return those of *labels* whose room is not for *request*."""
        return frozenset(filter(self.is_kept, labels if request.parent is None else ()))

    def why_no_room(self, label: str, size: Size | None) -> NoRoom | None:
        """Return why there is no room, nor would be without the VMs that may go for it."""
        if (label, size) not in self.no_room:
            has_room = self._would_have((label, size))
            self.no_room[label, size] = None if has_room else self.facts.why_no_room(label, size)
        return self.no_room[label, size]

    def _would_have(self, vm: Wanted) -> bool:
        """Ask for all that may be wanted at once: what may be evicted is counted out for it."""
        if vm not in self.asked:
            unasked = {*self.known, vm} - self.asked
            self.asked |= unasked
            self.with_room |= self.would_have(unasked)
        return vm in self.with_room

    def holder_of(self, request: WaitingRequest) -> Any:
        """Return the build that waits for *request*, if it may hold a lock while it does."""
        return self.holders.get(request.parent)

    @cached_property
    def waited_by_builds(self) -> frozenset[Any]:
        """The allocations of VMs whose builds wait for a request that waits here."""
        return frozenset(
            lease.vm.allocation
            for worker, lease in self.leases.items()
            if (build := self.builds.get(worker)) is not None and build.buildid in self.parents
        )


class Explainer:
    """Explains requests of builders that have workers of *pool*.

    :param master: the Buildbot master.
    """

    def __init__(self, master: Any, pool: VmPool) -> None:
        self._master = master
        self._pool = pool
        self._wants: dict[int, _Wants] = {}

    async def explain(self, requests: list[WaitingRequest]) -> tuple[Explanation, ...]:
        """Return why each of *requests* waits, leaving out those that are for somebody else."""
        ids = {request.id for request in requests}
        self._wants = {id_: wants for id_, wants in self._wants.items() if id_ in ids}
        moment = self._moment(requests)
        rendered = len(self._wants)
        found = []
        for request in requests:
            may_render = len(self._wants) - rendered < MOST_RENDERED
            explanation = await self._explain(request, moment, may_render=may_render)
            found += [explanation] if explanation is not None else []
        return tuple(found)

    def _moment(self, requests: Iterable[WaitingRequest]) -> _Moment:
        pool = self._pool
        troubles = {
            name: pool.hosts[name].trouble if name in pool.hosts else "not started yet"
            for name in pool.config.hosts
        }
        parents = frozenset(r.parent for r in requests if r.parent is not None)
        waiting = (build for build in self._builds() if build.buildid in parents)
        return _Moment(
            RoomFacts(
                pool.config,
                pool.capacity,
                {**troubles, **pool.host_backoff.hosts()},
                pool.usable.unfit(),
                pool.admission.withdrawn,
                pool.thaws.reserved(),
                pool.held_places(),
                pool.missing_images.whys(),
            ),
            pool.allocator.would_have,
            frozenset(vm for wants in self._wants.values() for vm in wants.vms)
            | {(label, None) for label in pool.config.labels},
            pool.admission.is_kept_for_children,
            parents,
            {build.buildid: build for build in waiting if may_hold_locks(build)},
            builds={
                build.workerforbuilder.worker.name: build
                for build in self._builds()
                if getattr(build, "workerforbuilder", None) is not None
            },
            leases=pool.leases,
        )

    def _builds(self) -> Iterator[Any]:
        for builder in self._master.botmaster.builders.values():
            yield from builder.building

    async def _explain(
        self, request: WaitingRequest, moment: _Moment, *, may_render: bool
    ) -> Explanation | None:
        builder = self._master.botmaster.builders.get(request.builder)
        if builder is None:
            return None if request.masters else Explanation(request, (), _no_master(request))
        its = moment.builders.get(request.builder)
        if its is None:
            ours = [wfb for wfb in builder.workers if self._is_ours(wfb.worker)]
            its = moment.builders[request.builder] = WorkersOfBuilder(builder, ours)
        if not its.ours:
            return None
        if resting := why_resting(builder):
            return Explanation(request, (), Reason("veto", resting))
        wants = await self._wanted(request, its, may_render=may_render)
        if wants is None:
            unknown = Reason("unknown", "its label or its locks are not known yet")
            return Explanation(request, (), unknown)
        reason = await self._why(request, its, wants, moment)
        kept = moment.kept_from(request, wants.labels)
        return Explanation(request, wants.labels, reason, kept)

    def _is_ours(self, worker: Any) -> bool:
        return getattr(worker, "pool_name", None) == self._pool.name

    # What a request wants.

    async def _wanted(
        self, request: WaitingRequest, its: WorkersOfBuilder, *, may_render: bool
    ) -> _Wants | None:
        locks = its.builder.config.locks
        if its.has_one_answer and not IRenderable.providedBy(locks):
            return _Wants(tuple((label, None) for label in sorted(its.labels)), locks)
        if request.id not in self._wants:
            if not may_render:
                return None
            self._wants[request.id] = await self._render(request, its.builder, its.ours)
        return self._wants[request.id]

    async def _render(self, request: WaitingRequest, builder: Any, ours: list[Any]) -> _Wants:
        """Return what *request* wants, and nothing of what cannot be rendered."""
        wants = _Wants()
        try:
            await in_time(
                self._master.reactor,
                lambda: Deferred.fromCoroutine(self._render_all(wants, request, builder, ours)),
            )
        except ConfigurationError:
            pass  # Its build is to start, and to fail with this.
        except Exception:  # noqa: BLE001 - a renderer of master.cfg, or a request that has gone
            log.debug("request {id} cannot be explained", id=request.id)
        return wants

    async def _render_all(
        self, wants: _Wants, request: WaitingRequest, builder: Any, ours: list[Any]
    ) -> None:
        properties = await self._properties(request, builder, ours[0])
        wants.vms = await _vms(ours, properties)
        wants.locks = await properties.render(builder.config.locks)

    async def _properties(self, request: WaitingRequest, builder: Any, wfb: Any) -> Properties:
        brdict = await self._master.db.buildrequests.getBuildRequest(request.id)
        found = await BuildRequest.fromBrdict(self._master, brdict)
        properties = Properties()
        properties.master = self._master
        await Build.setup_properties_known_before_build_starts(properties, [found], builder, wfb)
        return properties

    # What holds it.

    async def _why(
        self, request: WaitingRequest, its: WorkersOfBuilder, wants: _Wants, moment: _Moment
    ) -> Reason:
        """Return what holds a request, which is the same for all that want the same."""
        if wants.locks and wants.locks is not its.builder.config.locks:
            return await self._find_why(request, its, wants, moment)
        key = (request.builder, wants.vms, request.parent is not None, moment.holder_of(request))
        if key not in moment.reasons:
            moment.reasons[key] = await self._find_why(request, its, wants, moment)
        return moment.reasons[key]

    async def _find_why(
        self, request: WaitingRequest, its: WorkersOfBuilder, wants: _Wants, moment: _Moment
    ) -> Reason:
        if self._master.botmaster.shuttingDown:
            return Reason("master", "this master is stopping")
        room = self._why_no_room(wants.vms, moment, awaited=request.parent is not None)
        found = [
            *([its.all_unable] if not its.able and (room is None or its.is_stuck) else []),
            *([room] if room is not None else []),
            *await self._locks(its, wants, moment, moment.holder_of(request)),
        ]
        if not found:
            return _veto(request, its.builder, self._master)
        kinds = [reason.kind for reason in found]
        return Reason("circle" if "circle" in kinds else kinds[0], _all(found))

    def _why_no_room(
        self, vms: tuple[tuple[str, Size | None], ...], moment: _Moment, *, awaited: bool
    ) -> Reason | None:
        """Return why there is room for none of *vms*; ``None`` if there is, or a VM that idles.

        :param awaited: whether a build waits for the request.
        """
        key = (vms, awaited)
        if key not in moment.rooms:
            moment.rooms[key] = self._find_why_no_room(vms, moment, awaited=awaited)
        return moment.rooms[key]

    def _find_why_no_room(
        self, vms: tuple[tuple[str, Size | None], ...], moment: _Moment, *, awaited: bool
    ) -> Reason | None:
        whys = []
        for label, size in vms:
            why = self._why_none(label, size, moment, awaited=awaited)
            if why is None:
                return None
            whys.append(why)
        if not whys:
            return None
        circle = next((why for why in whys if _in_a_circle(why, moment)), None)
        if circle is not None:
            return _circle(circle.reason)
        return Reason(whys[0].reason.kind, _all(why.reason for why in whys))

    def _why_none(
        self, label: str, size: Size | None, moment: _Moment, *, awaited: bool
    ) -> NoRoom | None:
        if not awaited and moment.is_kept(label):
            text = f"what is left for label {label} is kept for builds that another one waits for"
            return NoRoom(Reason("cap", f"{text} (reserve_for_children)"))
        return None if self._idles(label, size) else moment.why_no_room(label, size)

    def _idles(self, label: str, size: Size | None) -> bool:
        leases = self._pool.leases.values()
        return any(lease.idle is not None and lease.suits(label, size) for lease in leases)

    async def _locks(
        self, its: WorkersOfBuilder, wants: _Wants, moment: _Moment, parent: Any
    ) -> list[Reason]:
        """Return the locks that are held for all workers.

        :param parent: the build that waits for the request and may hold a lock, or ``None``.
        """
        if not wants.locks or IRenderable.providedBy(wants.locks):
            return []
        busy = await its.busy_locks(wants.locks)
        own = busy.of_only(parent) if parent else None
        if own is not None:
            return [_circle_of_locks(self._held(own, moment))]
        return [Reason("lock", self._held(lock, moment)) for lock in busy.of_first]

    def _held(self, lock: Any, moment: _Moment) -> str:
        if lock not in moment.held:
            names = [_name(build) for build in owners_among(self._builds(), lock)]
            by = some(names) or "somebody else"
            moment.held[lock] = f"lock {lock.lockName} is held by {by}"
        return moment.held[lock]


async def _vms(wfbs: list[Any], properties: Properties) -> tuple[tuple[str, Size | None], ...]:
    """Return the labels of *wfbs*, each asked once, and the sizes that are chosen of them."""
    workers = {id(wfb.worker.label): wfb.worker for wfb in wfbs}
    found = {await worker.vm_for(properties) for worker in workers.values()}
    return tuple(sorted(found, key=lambda vm: vm[0]))


def _no_master(request: WaitingRequest) -> Reason:
    return Reason("master", f"no master that runs has builder {request.builder}")


def _in_a_circle(why: NoRoom, moment: _Moment) -> bool:
    """Whether all VMs whose room would help are those of builds that wait themselves."""
    return bool(why.allocations) and why.allocations <= moment.waited_by_builds


def _circle(reason: Reason) -> Reason:
    return Reason(
        "circle",
        f"{reason.text}, and each VM there has a build that waits for a build of these: none of "
        "them can go on. Raise the cap, or keep room with reserve_for_children",
    )


def _circle_of_locks(held: str) -> Reason:
    return Reason(
        "circle",
        f"{held}, which waits for this request: neither can go on. Stop one of them, and let only "
        "one take that lock",
    )


def _veto(request: WaitingRequest, builder: Any, master: Any) -> Reason:
    """Return who else may have refused, if there is anybody."""
    asked: list[tuple[str, Callable[..., Any] | None]] = [
        ("canStartBuild", builder.config.canStartBuild),
        ("nextWorker", builder.config.nextWorker or master.config.select_next_worker),
        ("nextBuild", builder.config.nextBuild),
    ]
    names = [f"{what} ({_called(function)})" for what, function in asked if callable(function)]
    if not names:
        return Reason("next", "nothing holds it: it starts when its turn comes")
    return Reason("veto", f"{' or '.join(names)} of builder {request.builder} may have refused it")


def _called(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def _name(build: Any) -> str:
    return f"{build.builder.name} #{build.number}"


def _all(reasons: Iterable[Reason]) -> str:
    """Return the texts of *reasons*, each once."""
    return "; ".join(dict.fromkeys(reason.text for reason in reasons))
