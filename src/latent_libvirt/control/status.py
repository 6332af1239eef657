# SPDX-License-Identifier: GPL-2.0-only
"""What a pool says of itself at one moment: plain values, put together without side effects.

How they travel is the business of ``messages.py``, how people see them of ``cli/overview.py``.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from latent_libvirt.capacity import Ledger, Target
from latent_libvirt.config import PoolConfig
from latent_libvirt.holds import Hold
from latent_libvirt.host.host import Host
from latent_libvirt.lease import Job, Lease
from latent_libvirt.queues import Queue
from latent_libvirt.vm import VM
from latent_libvirt.why_waiting import Explanation


@dataclass(frozen=True)
class Usage:
    """How much of a budget is given out; more than all of it after the budget has shrunk."""

    used: int
    most: int


@dataclass(frozen=True)
class SealedStatus:
    """What VMs of a label are resumed from in a slot.

    :param size: bytes.
    """

    slot: int
    label: str
    size: int


@dataclass(frozen=True)
class HostStatus:
    """A host.

    :param trouble: why it is not usable; empty if it is.
    :param drained: by a command, or by the configuration.
    :param slots: how many VMs it may run.
    :param used: how many places are taken there: VMs, and room kept for VMs that will start.
    :param blocked: slots with a domain that is none of this pool's.
    :param squatters: which of those domains are of no pool at all, in a sentence each.
    :param connected: whether there is a connection to its libvirt.
    :param vcpus: of the VMs of this pool there; ``None`` if they are not limited.
    :param memory: the same, in bytes.
    :param starting: how many of those used are for VMs that are not up yet.
    :param sealed: what VMs can be resumed from there.
    :param sealed_space: bytes of that, and of what is about to go; the most is the budget for it.
    """

    name: str
    usable: bool
    trouble: str
    drained: bool
    slots: int
    used: int
    blocked: tuple[int, ...]
    connected: bool
    vcpus: Usage | None = None
    memory: Usage | None = None
    starting: int = 0
    sealed: tuple[SealedStatus, ...] = ()
    sealed_space: Usage | None = None
    squatters: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelStatus:
    """A label.

    :param used: how many places are taken for it: VMs, and room kept for VMs that will start.
    :param room: whether one more could start now.
    :param unfit: why it gets no VM on some of its hosts although others do, in a sentence each.
    """

    name: str
    drained: bool
    max_vms: int
    used: int
    hosts: tuple[str, ...]
    room: bool
    unfit: tuple[str, ...] = ()


@dataclass(frozen=True)
class LeaseStatus:
    """A VM, from when a worker is given it until nothing is left of it.

    :param image: the digest of its base image; empty until that is known.
    :param phase: ``prepare``, ``clone``, ``boot``, ``hand-over``, ``attach``, ``build`` or
        ``tear-down``.
    :param seconds_in_phase: since that phase began.
    :param seconds: since the worker was given the VM.
    :param failure: why there will be no VM, or no longer; empty if all goes well.
    :param job: what it is for, as soon as that is known.
    """

    worker: str
    label: str
    host: str
    slot: int
    domain: str
    lease: str
    image: str
    phase: str
    seconds_in_phase: float
    seconds: float
    failure: str
    job: Job | None


@dataclass(frozen=True)
class SpareStatus:
    """A VM that waits for a job, or is on its way; or one that is only to be sealed.

    :param phase: of its start; ``waiting`` after that.
    :param seconds: since it was put on record.
    """

    label: str
    host: str
    domain: str
    lease: str
    image: str
    phase: str
    seconds: float


@dataclass(frozen=True)
class HeldStatus:
    """A VM that is held after its job.

    :param worker: what it was.
    :param seconds_left: until it goes by itself.
    :param job: what ran there last, as far as this master knows.
    """

    worker: str
    label: str
    host: str
    domain: str
    lease: str
    seconds_left: float
    job: Job | None


@dataclass(frozen=True)
class QueueStatus:
    """Build requests that nobody has claimed yet.

    :param label: whose VM they would get; empty if their builder has workers of several labels, or
        of one that the properties of each job decide.
    :param oldest: seconds since the oldest of them was submitted; 0 if there is none.
    """

    label: str
    requests: int
    oldest: float


@dataclass(frozen=True)
class WaitingStatus:
    """A build request that nobody has claimed yet, and why.

    :param request: its id in Buildbot.
    :param seconds: since it was submitted.
    :param labels: whose VM it could get; empty if its properties have not been looked at yet.
    :param kind: what holds it, for machines: see ``reasons.py``.
    :param reason: the same for people, in a sentence.
    """

    request: int
    builder: str
    priority: int
    seconds: float
    labels: tuple[str, ...]
    kind: str
    reason: str


@dataclass(frozen=True)
class PoolStatus:
    """A pool.

    :param master: the master's name in Buildbot's database.
    :param max_vms: the master's cap.
    :param used: how many places are taken in all.
    :param sealing: VMs that run only to be sealed.
    :param refused: what is wrong with the pool's YAML file since it was saved last, while the
        configuration before goes on; empty if nothing is.
    :param waiting: a queue for each label, and for those without; ``None`` if the database has not
        told. It is some seconds old.
    :param explained: why requests wait, those first that are to start first; at most 500. It is as
        old as *waiting*.
    :param generation: how many different configurations this process has followed.
    :param loaded_at: when the configuration was last read and found good, seconds since the epoch.
    """

    master: str
    name: str
    max_vms: int
    used: int
    refused: str
    hosts: tuple[HostStatus, ...]
    labels: tuple[LabelStatus, ...]
    leases: tuple[LeaseStatus, ...]
    waiting: tuple[QueueStatus, ...] | None
    generation: int
    loaded_at: float
    spares: tuple[SpareStatus, ...] = ()
    held: tuple[HeldStatus, ...] = ()
    sealing: tuple[SpareStatus, ...] = ()
    explained: tuple[WaitingStatus, ...] = ()


def hosts(
    config: PoolConfig,
    ledger: Ledger,
    running: Mapping[str, Host],
    set_aside: Mapping[str, str] = MappingProxyType({}),
) -> tuple[HostStatus, ...]:
    """Return the status of each host of *config*.

    :param running: those that have been started.
    :param set_aside: why some of them get nothing for a while.
    """
    used = Counter(place.host for place in ledger.taken)
    return tuple(
        HostStatus(
            name=name,
            usable=name in running and running[name].usable and name not in set_aside,
            trouble=_trouble(name, running, set_aside),
            drained=ledger.is_drained(Target("host", name)),
            slots=host.slots,
            used=used[name],
            blocked=tuple(sorted(running[name].blocked_slots)) if name in running else (),
            connected=name in running and running[name].connection.is_up,
            vcpus=_usage(ledger.given(name).vcpus, host.vcpu_budget),
            memory=_usage(ledger.given(name).memory, host.memory_budget),
            starting=ledger.starting(name),
            sealed=_sealed(running[name]) if name in running else (),
            sealed_space=_space(running[name], host.sealed_space) if name in running else None,
            squatters=running[name].squatters if name in running else (),
        )
        for name, host in config.hosts.items()
    )


def _trouble(name: str, running: Mapping[str, Host], set_aside: Mapping[str, str]) -> str:
    if name not in running:
        return "not started yet"
    return running[name].trouble or set_aside.get(name, "")


def _sealed(host: Host) -> tuple[SealedStatus, ...]:
    states = sorted(host.sealed.states, key=lambda state: (state.name.slot, state.record.label))
    return tuple(SealedStatus(s.name.slot, s.record.label, s.size) for s in states)


def _space(host: Host, space: int) -> Usage:
    return Usage(host.sealed.states.size, space)


def _usage(used: int, budget: int | None) -> Usage | None:
    return None if budget is None else Usage(used, budget)


def labels(
    config: PoolConfig,
    ledger: Ledger,
    unfit: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> tuple[LabelStatus, ...]:
    """Return the status of each label of *config*.

    :param unfit: by label and host, why the label gets no VM there although others may.
    """
    used = Counter(place.label for place in ledger.taken)
    return tuple(
        LabelStatus(
            name=name,
            drained=ledger.is_drained(Target("label", name)),
            max_vms=label.max_vms,
            used=used[name],
            hosts=config.hosts_for(name),
            room=ledger.room(name),
            unfit=tuple(f"host {host}: {why}" for host, why in unfit.get(name, {}).items()),
        )
        for name, label in config.labels.items()
    )


def waiting(
    config: PoolConfig, queues: Mapping[str, Queue] | None
) -> tuple[QueueStatus, ...] | None:
    """Return the queue of each label of *config*, then those of others that are not empty."""
    if queues is None:
        return None
    now = time.time()
    others = [label for label in queues if label not in config.labels]
    return tuple(_queue(label, queues.get(label), now) for label in (*config.labels, *others))


def _queue(label: str, queue: Queue | None, now: float) -> QueueStatus:
    if queue is None:
        return QueueStatus(label, 0, 0.0)
    return QueueStatus(label, queue.requests, max(0.0, now - queue.since))


def explained(explanations: Iterable[Explanation]) -> tuple[WaitingStatus, ...]:
    """Return why each request waits."""
    now = time.time()
    return tuple(
        WaitingStatus(
            request=each.request.id,
            builder=each.request.builder,
            priority=each.request.priority,
            seconds=max(0.0, now - each.request.since),
            labels=each.labels,
            kind=each.reason.kind,
            reason=each.reason.text,
        )
        for each in explanations
    )


def leases(given: Iterable[Lease]) -> tuple[LeaseStatus, ...]:
    """Return the status of each lease, the oldest first."""
    return tuple(sorted(map(_lease, given), key=lambda lease: -lease.seconds))


def _lease(lease: Lease) -> LeaseStatus:
    report = lease.report()
    phase, seconds_in_phase = lease.current_phase
    return LeaseStatus(
        worker=report.worker,
        label=report.label,
        host=report.host,
        slot=lease.vm.place.slot,
        domain=report.domain,
        lease=report.lease,
        image=report.image,
        phase=phase,
        seconds_in_phase=seconds_in_phase,
        seconds=lease.timeline.age,
        failure=report.failure,
        job=lease.job,
    )


def spares(there: Iterable[VM]) -> tuple[SpareStatus, ...]:
    """Return the status of each VM without a worker, the oldest first."""
    return tuple(sorted(map(_spare, there), key=lambda spare: -spare.seconds))


def _spare(vm: VM) -> SpareStatus:
    phase, _seconds = vm.timeline.current or ("waiting", 0.0)
    return SpareStatus(
        label=vm.place.label,
        host=vm.host.name,
        domain=vm.machine.name,
        lease=vm.lease,
        image=vm.machine.image_digest,
        phase=phase,
        seconds=vm.age,
    )


def held(there: Iterable[Hold]) -> tuple[HeldStatus, ...]:
    """Return the status of each VM that is held, the one first that has the least time."""
    return tuple(sorted(map(_held, there), key=lambda held: held.seconds_left))


def _held(hold: Hold) -> HeldStatus:
    return HeldStatus(
        worker=hold.worker,
        label=hold.vm.place.label,
        host=hold.vm.host.name,
        domain=hold.vm.machine.name,
        lease=hold.vm.lease,
        seconds_left=hold.seconds_left,
        job=hold.job,
    )
