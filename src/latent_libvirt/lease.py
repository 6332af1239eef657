# SPDX-License-Identifier: GPL-2.0-only
"""What a worker holds from the moment it is given a VM until nothing of that VM is left.

The steps of a VM's life in their order, each timed. How each is done is the host's business, who
gets a lease the pool's, and what a failure means to a build the worker's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from latent_libvirt.capacity import Place
from latent_libvirt.config import LabelConfig
from latent_libvirt.errors import GuestError, LatentLibvirtError
from latent_libvirt.host.host import Host
from latent_libvirt.host.machine import Machine
from latent_libvirt.identity import Identity
from latent_libvirt.timeline import Timeline

log = Logger()

_LOSS_PATIENCE = 2.0
"""Seconds in which the event of a VM's end follows the end of its connections."""


@dataclass(frozen=True)
class Job:
    """The build that a VM is for.

    :param number: of that builder's.
    """

    builder: str
    number: int
    url: str


@dataclass(frozen=True)
class LeaseReport:
    """What is told of a lease when it has ended.

    :param image: the digest of the base image.
    :param failure: why there was no VM for the build, or no longer; empty if all went well.
    :param phases: seconds of ``prepare``, ``clone``, ``boot``, ``hand-over``, ``attach``, ``build``
        and ``tear-down``, as far as the lease came.
    """

    lease: str
    label: str
    worker: str
    host: str
    domain: str
    image: str
    failure: str
    phases: dict[str, float] = field(hash=False)


class Lease:
    """One VM for one worker.

    :param is_up: called when the guest waits for its identity: it has done the work of starting.
    """

    def __init__(
        self,
        *,
        label: LabelConfig,
        place: Place,
        host: Host,
        machine: Machine,
        is_up: Callable[[Place], None],
    ) -> None:
        self.label = label
        self.place = place
        self.worker = machine.plan.record.worker
        self.timeline = Timeline()
        self.job: Job | None = None
        self.failure = ""
        self.released = False
        self._has_attached = False
        self._host = host
        self._machine = machine
        self._is_up = is_up
        self._attached: Deferred[None] | None = None

    def __str__(self) -> str:
        return f"{self._machine.name} on host {self.place.host}"

    @property
    def properties(self) -> dict[str, str]:
        """What a build is told of its VM; complete once :meth:`start` is done."""
        return {
            "vm_label": self._machine.plan.record.label,
            "vm_host": self.place.host,
            "vm_domain": self._machine.name,
            "vm_image": self._machine.image_digest,
        }

    async def master_address(self, configured: str | None) -> str:
        """Return where the guest finds the master; *configured* is the address for all hosts."""
        return await self._host.master_address(self._machine.plan.network, configured)

    async def start(self, identity: Identity) -> None:
        """Bring up a VM that becomes *identity*'s worker; returns once the worker has been started.

        :raises LatentLibvirtError: if that failed; the lease must be released all the same.
        """
        self.timeline.enter("prepare")
        await self._machine.prepare()
        self.timeline.enter("clone")
        await self._machine.clone()
        self.timeline.enter("boot")
        await self._machine.boot()
        await self._machine.until_waiting(self.label.boot_timeout)
        self._is_up(self.place)
        self.timeline.enter("hand-over")
        await self._machine.hand_over(identity)
        self.timeline.enter("attach")

    def attached(self) -> None:
        """Take note that the worker has attached to the master."""
        self._has_attached = True
        if self._attached is not None and not self._attached.called:
            self._attached.callback(None)

    async def until_attached(self, reactor: Any) -> None:
        """Wait for :meth:`attached`.

        :raises GuestError: if the VM ends first, or the label's ``attach_timeout`` is over.
        """
        timeout = self.label.attach_timeout
        try:
            if not self._has_attached:
                self._attached = self._machine.guest.expect()
                await self._attached.addTimeout(timeout, reactor)
        except defer.TimeoutError:
            raise self._machine.guest.with_console(
                GuestError(
                    f"the worker in VM {self._machine.name} did not attach within {timeout:g} s",
                    resolution="Its console says whether it reached the master; a slow one needs a "
                    "larger attach_timeout of its label.",
                )
            ) from None
        self.timeline.enter("build")

    def ended(self) -> Deferred[Any]:
        """Return a Deferred that fails with a GuestError when the VM ends before it is released."""
        return self._machine.guest.expect()

    async def loss(self, reactor: Any) -> GuestError:
        """Return why the worker has lost its connection: most likely, its VM has ended."""
        name = self._machine.name
        try:
            await self._machine.guest.expect().addTimeout(_LOSS_PATIENCE, reactor)
        except GuestError as error:
            return error
        except defer.TimeoutError:
            pass
        brief = f"the worker in VM {name} lost its connection to the master, while the VM ran on"
        return self._machine.guest.with_console(GuestError(brief))

    async def release(self, *, graceful: bool) -> LeaseReport:
        """Let nothing remain of the VM.

        :param graceful: give the guest the label's ``shutdown_timeout`` to shut down, if the label
            asks for that.
        """
        self.released = True
        self.timeline.enter("tear-down")
        if graceful and self.label.shutdown == "graceful":
            await self._shut_down()
        await self._host.discard(self._machine)
        self.timeline.finish()
        return self.report()

    async def _shut_down(self) -> None:
        try:
            await self._machine.shut_down(self.label.shutdown_timeout)
        except LatentLibvirtError as error:
            log.warn("{lease}: no graceful shutdown: {error}", lease=str(self), error=str(error))

    def report(self) -> LeaseReport:
        """Return what is known of the lease so far."""
        record = self._machine.plan.record
        return LeaseReport(
            lease=record.lease,
            label=record.label,
            worker=record.worker,
            host=self.place.host,
            domain=self._machine.name,
            image=self._machine.image_digest,
            failure=self.failure,
            phases=self.timeline.phases,
        )
