# SPDX-License-Identifier: GPL-2.0-only
"""Plain values that tell what a pool has and does at one moment.

The control socket carries them, the command line and the metrics show them. A leaf: it imports
nothing of this package.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal[
    "cap", "circle", "drained", "host", "lock", "master", "next", "unknown", "veto", "worker"
]
"""What holds a request, for machines: ``cap`` is a ``max_vms``, ``host`` anything of the hosts,
``drained`` also a label that was taken out of the file, ``circle`` VMs whose builds wait for the
request, ``veto`` a function of ``master.cfg``, ``master`` that no running master has the builder,
``worker`` that all its workers are busy or in back-off. With ``next`` nothing holds it.
``unknown`` is what could not be found out."""

KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class BuildRef:
    """The build that a VM is for.

    :param number: of that builder's.
    """

    builder: str
    number: int
    url: str


@dataclass(frozen=True, order=True)
class Target:
    """A host or a label that can be drained: what runs finishes, nothing new starts."""

    kind: Literal["host", "label"]
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True)
class VmNames:
    """By what names a VM goes.

    :param worker: whose VM it is, empty if it waits for one.
    :param job: what it is for, or ``None`` if nothing, or if that is not known yet.
    """

    domain: str
    host: str
    vm_id: str
    worker: str = ""
    job: BuildRef | None = None

    def __str__(self) -> str:
        words = [f"worker {self.worker}"] if self.worker else []
        words += [f"job {self._job}"] if self.job else []
        return f"{self._place} ({', '.join([*words, f'id {self.vm_id}'])})"

    @property
    def all(self) -> frozenset[str]:
        """Every name that an operator may use."""
        return frozenset({self.domain, *self.by_kind.values()} - {""})

    @property
    def by_kind(self) -> dict[str, str]:
        """A name of each kind, empty if it has none. An id is no other VM's."""
        place = self._place
        return {"job": self._job, "worker": self.worker, "DOMAIN@HOST": place, "id": self.vm_id}

    @property
    def _place(self) -> str:
        return f"{self.domain}@{self.host}"

    @property
    def _job(self) -> str:
        return "" if self.job is None else f"{self.job.builder}/{self.job.number}"


@dataclass(frozen=True)
class HostSweep:
    """What a sweep found on a host.

    :param leftovers: what it has freed, or would free, each in words.
    :param trouble: why it could not be swept, empty if it was.
    """

    host: str
    leftovers: tuple[str, ...]
    trouble: str


@dataclass(frozen=True)
class Usage:
    """How much of a budget is given out; more than all of it after the budget has shrunk."""

    used: int
    most: int


@dataclass(frozen=True)
class Density:
    """How much of a host's memory VMs have, by a reading of the last half minute.

    :param vms: that run under the host's libvirt, of all owners.
    :param used: bytes that they have in memory. What some of them share counts for each.
    :param most: bytes of memory that the host has.
    :param shared: bytes that the host saves since it keeps pages with the same content once (KSM);
        ``None`` if it does not say.
    """

    vms: int
    used: int
    most: int
    shared: int | None = None


@dataclass(frozen=True)
class SavedStateStatus:
    """What VMs of a label are resumed from in a slot.

    :param size: bytes.
    """

    slot: int
    label: str
    size: int


@dataclass(frozen=True)
class HostStatus:
    """A host.

    :param trouble: why it is not usable, empty if it is.
    :param drained: by a command, or by the configuration.
    :param slots: how many VMs it may run.
    :param used: how many places are taken there: VMs, and room kept for VMs that will start.
    :param blocked: slots with a domain that is none of this pool's.
    :param shared: whether another owner has VMs or volumes there. If so, no slot is saved before a
        job boots in it.
    :param squatters: which of those domains are of no pool at all, in a sentence each.
    :param connected: whether there is a connection to its libvirt.
    :param vcpus: of the VMs of this pool there, or ``None`` if they are not limited.
    :param memory: the same, in bytes.
    :param starting: how many of those used are for VMs that are not up yet.
    :param saved: what VMs can be resumed from there.
    :param saved_state_space: bytes of that, and of what is about to go; the most is the budget.
    :param resumable: how many states its slots would have, one of each kind of VM that is resumed.
    :param density: how much of its memory VMs have, or ``None`` if that is not known.
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
    saved: tuple[SavedStateStatus, ...] = ()
    saved_state_space: Usage | None = None
    resumable: int = 0
    squatters: tuple[str, ...] = ()
    shared: bool = False
    density: Density | None = None


@dataclass(frozen=True)
class LabelStatus:
    """A label.

    :param used: how many places are taken for it: VMs, and room kept for VMs that will start.
    :param room: whether one more could start now.
    :param unfit: why it gets no VM on some of its hosts although others do, in a sentence each.
    :param image: what is to be known of its image: a version on trial, or withdrawn.
    :param vcpus: of a VM whose build chooses none.
    :param memory: the same, in bytes.
    :param graphics: whether its VMs have a screen.
    """

    name: str
    drained: bool
    max_vms: int
    used: int
    hosts: tuple[str, ...]
    room: bool
    unfit: tuple[str, ...] = ()
    image: str = ""
    vcpus: int = 0
    memory: int = 0
    graphics: bool = False


@dataclass(frozen=True)
class LeaseStatus:
    """A VM, from when a worker is given it until nothing is left of it.

    :param image: the digest of its base image, empty until that is known.
    :param phase: ``prepare``, ``clone``, ``boot``, ``assign``, ``attach``, ``build`` or
        ``tear-down``.
    :param seconds_in_phase: since that phase began.
    :param seconds: since the worker was given the VM.
    :param failure: why there will be no VM, or no longer, empty if all goes well.
    :param job: what it is for, as soon as that is known.
    :param connection: how its worker comes to the master: ``tcp`` or ``channel``, empty until it
        does.
    :param requests: of its build to the forward proxy, as far as they have ended; ``None`` without
        one.
    :param refused: how many of them were refused, or failed.
    :param hold_for: seconds for which it is held when its build has ended; ``None`` if it is not.
    :param hold_asked_by: who has asked for that, empty if that is not known.
    """

    worker: str
    label: str
    host: str
    slot: int
    domain: str
    vm_id: str
    image: str
    phase: str
    seconds_in_phase: float
    seconds: float
    failure: str
    job: BuildRef | None
    connection: str = ""
    requests: int | None = None
    refused: int = 0
    hold_for: float | None = None
    hold_asked_by: str = ""


@dataclass(frozen=True)
class SpareStatus:
    """A VM that waits for a job, or is on its way; or one that is only to be saved.

    :param phase: of its start; ``waiting`` after that.
    :param seconds: since it was registered.
    """

    label: str
    host: str
    domain: str
    vm_id: str
    image: str
    phase: str
    seconds: float


@dataclass(frozen=True)
class HeldStatus:
    """A VM that is held after its job.

    :param worker: what it was.
    :param seconds_left: until it goes on its own.
    :param job: what ran there last, as far as it is known.
    """

    worker: str
    label: str
    host: str
    domain: str
    vm_id: str
    seconds_left: float
    job: BuildRef | None


@dataclass(frozen=True)
class FrozenStatus:
    """A VM that is frozen after its job.

    :param worker: what it was.
    :param seconds_left: until it is deleted.
    :param size: bytes of its memory and its disk.
    :param is_waiting: whether it is thawed as soon as it can have its slot.
    :param seconds: since it was frozen.
    :param trouble: why it can neither be thawed nor deleted now, and what to do, empty if it can.
    :param target: the host that it is copied to, or will be, empty for its own.
    :param given_up: why a thaw that waited for a slot was given up, or none is possible now, and
        what to do; empty otherwise.
    :param waits_for: what has to end before it is thawed, as a sentence without its full stop.
    :param job: what ran there last, as far as it is known.
    """

    worker: str
    label: str
    host: str
    domain: str
    vm_id: str
    seconds_left: float
    size: int
    is_waiting: bool = False
    seconds: float = 0.0
    trouble: str = ""
    target: str = ""
    given_up: str = ""
    waits_for: str = ""
    job: BuildRef | None = None


@dataclass(frozen=True)
class Thawed:
    """What became of a VM that was to be thawed.

    :param vm: its names, in words.
    :param is_waiting: whether it cannot have its slot yet. It is thawed as soon as it can.
    :param host: on which it goes on, empty for the one that had frozen it.
    :param waits_for: what has to end before, as a sentence without its full stop.
    """

    vm: str
    is_waiting: bool
    host: str = ""
    waits_for: str = ""


@dataclass(frozen=True)
class Exportable:
    """A frozen VM that may be packed.

    :param vm: its names, in words.
    :param uri: of its host's libvirt.
    :param memory: the name of the volume that has its memory.
    :param export: by which the master knows this export.
    """

    vm: str
    uri: str
    storage_pool: str
    memory: str
    export: str


@dataclass(frozen=True)
class BuildUsage:
    """What a build has used of its VM, as it is stored with the build.

    :param vcpus: that the VM had.
    :param memory: that the VM had, in bytes.
    :param seconds: for which the build had them.
    :param cpu_seconds: of processor time, with that of the VM's start.
    :param peak_cpus: the most that were busy at once, on average of half a minute, 0 if unknown.
    :param peak_memory: the most bytes that the VM's process had in memory.
    :param read: bytes from disks.
    :param written: bytes to disks.
    :param received: bytes from networks, where libvirt counts them.
    :param sent: bytes to networks, likewise.
    :param vm_id: of the VM, which may have served more builds.
    """

    label: str
    host: str
    vcpus: int
    memory: int
    seconds: float
    cpu_seconds: float
    peak_cpus: float
    peak_memory: int
    read: int
    written: int
    received: int
    sent: int
    vm_id: str = ""


@dataclass(frozen=True)
class UsageSum:
    """What several builds have used together.

    :param name: what they have in common.
    :param vcpu_seconds: for which they had vCPUs.
    :param memory_seconds: bytes of memory that they had, times seconds.
    :param peak_memory: the most that one of them needed.
    """

    name: str
    builds: int
    seconds: float
    vcpu_seconds: float
    cpu_seconds: float
    memory_seconds: float
    peak_memory: int
    read: int
    written: int
    received: int
    sent: int


@dataclass(frozen=True)
class UsageReport:
    """What builds have used, and what follows from it.

    :param sums: the largest first.
    :param advice: which labels are too large, in a sentence each.
    """

    sums: tuple[UsageSum, ...]
    advice: tuple[str, ...]


@dataclass(frozen=True)
class QueueStatus:
    """Build requests that nobody has claimed yet.

    :param label: whose VM they would get, empty if their builder has workers of several labels, or
        of one that the properties of each job decide.
    :param oldest: seconds since the oldest of them was submitted, 0 if there is none.
    """

    label: str
    requests: int
    oldest: float


@dataclass(frozen=True)
class WaitingStatus:
    """A build request that nobody has claimed yet, and why.

    :param request: its id in Buildbot.
    :param seconds: since it was submitted.
    :param labels: whose VM it could get, empty if its properties have not been looked at yet.
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
class FailureStatus:
    """A VM that did not come up, or was lost under its build.

    :param when: in seconds since the epoch.
    :param worker: whose VM it was, empty if it had none.
    :param details: more about the reason: messages, the end of its console, what to do.
    """

    when: float
    label: str
    host: str
    domain: str
    vm_id: str
    worker: str
    reason: str
    details: str
    job: BuildRef | None = None


@dataclass(frozen=True)
class SlotUse:
    """What a VM has done in its slot.

    :param worker: whose VM it was, empty if it was nobody's.
    :param began: when it was registered, in seconds since the epoch.
    :param phases: those that are over, one after the other, with their seconds.
    :param phase: the one that it is in, empty if the VM is gone.
    :param phase_since: when that began.
    :param ended: when nothing was left of the VM; 0 as long as something is.
    """

    host: str
    slot: int
    label: str
    vm_id: str
    worker: str
    job: BuildRef | None
    began: float
    phases: tuple[tuple[str, float], ...]
    phase: str
    phase_since: float
    ended: float = 0.0


@dataclass(frozen=True)
class PoolStatus:
    """A pool.

    :param master: the master's name in Buildbot's database.
    :param max_vms: the master's cap.
    :param used: how many places are taken in all.
    :param saving: VMs that run only to be saved.
    :param refused: what is wrong with the pool's YAML file since it was saved last, while the
        configuration before goes on, empty if nothing is.
    :param waiting: a queue for each label, and for those without; ``None`` if the database has not
        told. It is some seconds old.
    :param explained: why requests wait, those first that are to start first; at most 500. It is as
        old as *waiting*.
    :param generation: how many different configurations this process has followed.
    :param loaded_at: when the configuration was last read and found good, seconds since the epoch.
    :param failures: the last VMs that failed, the newest first.
    :param changed: what the last edit of the configuration has changed, a line for each thing.
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
    saving: tuple[SpareStatus, ...] = ()
    explained: tuple[WaitingStatus, ...] = ()
    failures: tuple[FailureStatus, ...] = ()
    changed: tuple[str, ...] = ()
    frozen: tuple[FrozenStatus, ...] = ()
