# SPDX-License-Identifier: GPL-2.0-only
"""A lease: the VM of a worker, from the moment it is given until the VM is gone.

The conversation between a worker and its VM, each phase timed. How a VM comes up and goes is in
``vm.py`` and ``vms.py``, and who gets a lease is in ``leases.py``. The worker decides what a
failure means to a build.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from latent_libvirt.errors import GuestError, LatentLibvirtError
from latent_libvirt.plain_text import as_text
from latent_libvirt.pool.timeline import Timeline
from latent_libvirt.timers import passed

if TYPE_CHECKING:
    from latent_libvirt.config.sections.label import LabelConfig
    from latent_libvirt.guest.protocol import Identity
    from latent_libvirt.pool.room.amounts import Size
    from latent_libvirt.pool.vm import (
        VM,
        Way,
    )
    from latent_libvirt.status.names import BuildRef

log = Logger()

VM_ID: Final = "vm_id"
"""The property of a build that has the id of its VM."""

_LOSS_TIMEOUT = 2.0
"""Seconds in which the event of a VM's end follows the end of its connections."""


@dataclass(frozen=True)
class LeaseReport:
    """What is reported of a lease when it has ended.

    :param image: the digest of the base image.
    :param failure: why there was no VM for the build, or no longer, empty if all went well.
    :param way: how the job came by its VM: ``cold``, ``resume`` or ``spare``.
    :param lost: how many VMs failed before the one that this is about.
    :param builds: how many builds it served.
    :param phases: seconds of ``prepare``, ``clone``, ``boot``, ``save``, ``resume``,
        ``assign``, ``attach``, ``build``, ``idle`` and ``tear-down``, as far as the lease came.
        What a spare did before it was claimed is not among them.
    """

    vm_id: str
    label: str
    worker: str
    host: str
    domain: str
    image: str
    failure: str
    phases: dict[str, float] = field(hash=False)
    way: Way = "cold"
    lost: int = 0
    builds: int = 1


@dataclass
class Idle:
    """A VM between two builds.

    :param end: ends the VM for good; fires when nothing of it is left.
    :param promised_until: until then, a build may be on its way to it; seconds on the reactor.
    """

    end: Callable[[], Deferred[Any]]
    promised_until: float = 0.0


class Lease:
    """One VM for one worker.

    :param requests: the ids of the build requests that it is for.
    :ivar attached_at: when the worker attached; seconds of :func:`passed`.
    :ivar hold_for: for how many seconds the VM is held after its build; ``None`` for not at all.
    :ivar hold_asked_by: who has asked for that, empty if its label has, or if that is not known.
    :ivar is_hold_asked: whether an operator has asked for that, and not its label.
    :ivar is_silent: whether the worker was asked whether it is there, and did not answer.
    :ivar why_not_held: why the VM of a failed build is not held, if its label holds such VMs, or an
        operator has asked for that.
    :ivar hold_remedy: what lets the pool hold such a VM, in a sentence, empty if nothing does.
    :ivar is_parted: whether the master has parted with the VM, which lives on at most for a moment.
    """

    def __init__(self, worker: str, vm: VM, way: Way, requests: tuple[int, ...] = ()) -> None:
        self.worker = worker
        self.requests = requests
        self.timeline = Timeline()
        self.job: BuildRef | None = None
        self.failure = ""
        self.released = False
        self.lost: list[VM] = []
        self.reasons: list[str] = []  # why they were lost
        self.hold_for: float | None = None
        self.hold_asked_by = ""
        self.is_hold_asked = False
        self.is_to_be_frozen = False
        self.why_not_held = ""
        self.hold_remedy = ""
        self.builds = 1
        self.idle: Idle | None = None
        self.attached_at = 0.0
        self.is_silent = False
        self.is_parted = False
        self.use(vm, way)

    def use(self, vm: VM, way: Way) -> None:
        """Go on with *vm*."""
        self.timeline.finish()  # of a VM before, which was lost in the middle of a phase
        self._before = self.timeline.phases
        self.vm = vm
        vm.lease = self
        self.way = way
        self._attached: Deferred[None] | None = None

    def __str__(self) -> str:
        return str(self.vm)

    @property
    def label(self) -> LabelConfig:
        """The label, as it was configured when the VM was registered."""
        return self.vm.label

    @property
    def label_name(self) -> str:
        """The label's name."""
        return self.vm.allocation.label

    @property
    def chosen_size(self) -> Size | None:
        """The size of its VM, or ``None`` if builds of its label cannot choose."""
        return self.vm.allocation.size if self.label.choice else None

    def suits(self, label: str, size: Size | None) -> bool:
        """Whether its VM is what a build of *label* gets.

        :param size: that the build has chosen, or ``None`` if it cannot choose.
        """
        return self.label_name == label and size in (None, self.vm.allocation.size)

    @property
    def current_phase(self) -> tuple[str, float]:
        """The phase that it is in, and the seconds since that began."""
        current = self.timeline.current or self.vm.timeline.current
        return current or ("prepare", min(self.timeline.age, self.vm.timeline.age))

    @property
    def phases(self) -> dict[str, float]:
        """The phases of the VM that it has, as far as they have ended, with their seconds.

        What a spare did before it was claimed is not among them, nor what VMs did that were lost.
        """
        start = self.vm.timeline.phases if self.way == "cold" else {}
        before = self._before
        since = {name: s - before.get(name, 0.0) for name, s in self.timeline.phases.items()}
        return start | {name: s for name, s in since.items() if s > 0 or name not in before}

    @property
    def start_phases(self) -> dict[str, float]:
        """The phases before its first build, with their seconds."""
        return {name: seconds for name, seconds in self.phases.items() if name != "build"}

    @property
    def serves_more(self) -> bool:
        """Whether its VM may serve another build after this one."""
        if self.failure or self.hold_for is not None or self.vm.ending is not None:
            return False
        return self.builds < self.label.max_builds_per_vm

    def ask_hold(self, seconds: float, user: str) -> None:
        """Hold the VM after its build, as *user* wants."""
        self.hold_for, self.hold_asked_by, self.is_hold_asked = seconds, as_text(user), True

    def drop_hold(self) -> None:
        """Do not hold the VM after its build, unless its label wants that then."""
        self.hold_for, self.hold_asked_by, self.is_hold_asked = None, "", False

    def idle_time(self, now: float) -> float:
        """Return for how many seconds the VM may wait for another build.

        One that comes is to find at least half of the VM's lifetime.
        """
        most = self.label.max_lifetime
        left = float("inf") if most is None else self.attached_at + most / 2 - now
        return max(0.0, min(self.label.idle_timeout, left))

    def rest(self, idle: Idle) -> None:
        """Wait for another build."""
        self.idle = idle
        self.job = None
        self.timeline.enter("idle")

    def serve_again(self, requests: tuple[int, ...]) -> None:
        """Serve another build, of these build requests."""
        self.idle = None
        self.builds += 1
        self.requests = requests
        self.timeline.enter("build")

    @property
    def properties(self) -> dict[str, str]:
        """The properties of a build that name its VM; complete once the VM waits."""
        machine = self.vm.machine
        return {
            VM_ID: self.vm.vm_id,
            "vm_label": self.label_name,
            "vm_host": self.vm.host.name,
            "vm_domain": machine.name,
            "vm_image": machine.image_digest,
        }

    async def introduce(self, identity: Identity) -> None:
        """Let the VM, which waits, become *identity*'s worker; return once that has attached.

        :raises LatentLibvirtError: if it does not.
        """
        machine = self.vm.machine
        self._has_attached = False  # whatever the VM before did
        self.timeline.enter("assign")
        if machine.record.state == "spare":
            await machine.mark(state="job", worker=self.worker)
        await machine.assign(identity)
        self.timeline.enter("attach")
        await self._until_attached(machine.host.reactor)
        self.attached_at = passed(machine.host.reactor)
        self.timeline.enter("build")

    def attached(self) -> None:
        """Note that the worker has attached to the master."""
        self._has_attached = True
        if self._attached is not None and not self._attached.called:
            self._attached.callback(None)

    async def _until_attached(self, reactor: Any) -> None:
        guest, timeout = self.vm.machine.guest, self.label.attach_timeout
        try:
            if not self._has_attached:
                self._attached = guest.expect()
                await self._attached.addTimeout(timeout, reactor)
        except defer.TimeoutError:
            raise guest.with_console(
                GuestError(
                    f"the worker in VM {guest.name} did not attach within {timeout:g} s",
                    resolution="Its console says whether it reached the master; a slow one needs a "
                    "larger attach_timeout of its label.",
                )
            ) from None

    def ended(self) -> Deferred[Any]:
        """Return a Deferred that fails with a GuestError when the VM ends before it is released."""
        return self.vm.machine.guest.expect()

    async def loss(self, reactor: Any) -> GuestError:
        """Return why the worker has lost its connection: most likely, its VM has ended."""
        guest = self.vm.machine.guest
        try:
            await guest.expect().addTimeout(_LOSS_TIMEOUT, reactor)
        except GuestError as error:
            return error
        except defer.TimeoutError:
            pass
        worker = f"the worker in VM {guest.name}"
        lost = f"{worker} lost its connection to the master, while the VM ran on"
        silent = f"{worker} did not answer within {self.label.attach_timeout:g} s"
        return guest.with_console(GuestError(silent if self.is_silent else lost))

    async def shut_down(self) -> None:
        """Give the guest the label's ``shutdown_timeout`` to shut down."""
        try:
            await self.vm.machine.shut_down(self.label.shutdown_timeout)
        except LatentLibvirtError as error:
            log.warn("{lease}: no graceful shutdown: {error}", lease=str(self), error=str(error))

    def report(self) -> LeaseReport:
        """Return what is known of the lease so far."""
        machine = self.vm.machine
        return LeaseReport(
            vm_id=self.vm.vm_id,
            label=self.label_name,
            worker=self.worker,
            host=self.vm.host.name,
            domain=machine.name,
            image=machine.image_digest,
            failure=self.failure,
            phases=self.phases,
            way="resume" if self.way == "cold" and self.vm.was_resumed else self.way,
            lost=len(self.lost),
            builds=self.builds,
        )
