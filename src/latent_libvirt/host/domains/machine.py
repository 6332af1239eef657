# SPDX-License-Identifier: GPL-2.0-only
"""One VM: its overlay and its domain, from before they exist until after they are gone.

A :class:`Machine` is used once. ``pool/vm.py`` calls its steps in order, and times them;
whatever happened, :meth:`Machine.destroy` comes last. Who may start how many is decided above.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from enum import IntEnum, auto
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import libvirt
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from latent_libvirt import advice
from latent_libvirt.deferreds import in_background
from latent_libvirt.errors import GuestError, LatentLibvirtError
from latent_libvirt.guest.protocol import REHEARSE
from latent_libvirt.host.domains import lifecycle
from latent_libvirt.host.domains.domain_calls import DomainCalls
from latent_libvirt.host.domains.domain_watch import DomainWatch
from latent_libvirt.host.domains.makeup import Makeup
from latent_libvirt.host.domains.saved_start import SavedStart
from latent_libvirt.host.domains.steps import Steps, given_up
from latent_libvirt.host.domains.ways_out import WaysOut
from latent_libvirt.host.guests.guest import Guest
from latent_libvirt.host.kvm import kvm_probe
from latent_libvirt.host.meters.usage import Meter
from latent_libvirt.host.states.frozen_io import CannotBeFrozenError
from latent_libvirt.timers import passed

if TYPE_CHECKING:
    from latent_libvirt.guest.protocol import Identity
    from latent_libvirt.host.context import HostContext
    from latent_libvirt.host.domains.domain_xml import DomainSpec
    from latent_libvirt.host.domains.plan import MachinePlan
    from latent_libvirt.host.kvm.accelerator import Verdict
    from latent_libvirt.host.states.frozen import FrozenVm
    from latent_libvirt.host.states.saved_states import SavedState

log = Logger()

SHORT_PAUSE = 2.0
"""Seconds. What starts or copies a VM pauses it for less."""

STARTING_TIMEOUT = 45.0
"""Seconds from the identity to ``starting``; the launcher gives up on the network after 30."""


class _Stage(IntEnum):
    """The way of a VM, which has no step back; the reactor's thread alone writes it."""

    STARTING = auto()
    ASSIGNED = auto()  # the guest has its identity
    ENDING = auto()


class Machine:
    """One VM on one host."""

    def __init__(self, host: HostContext, plan: MachinePlan) -> None:
        self.plan = plan
        self.record = plan.record
        self.host = host
        self.calls = DomainCalls(host, plan)
        self.name = self.calls.name
        self.steps = Steps(host, self.name)
        self.watch = DomainWatch()
        self.makeup = Makeup(host, plan, self.calls)
        self.saved_start = SavedStart(self)
        self.guest = self._new_guest()
        self.image_digest = ""
        """The digest of the base image; empty until :meth:`prepare` is done."""
        self.meter = Meter()
        """What its builds have used."""
        self._logged_pause = ""
        self.domain_id: int | None = None
        """libvirt's number of its domain, as long as that is known."""
        self._ways = WaysOut(host, self.calls)
        self.is_cut_off = False
        """Whether nobody listens to the guest, since the connection to its host was lost."""
        self._stage = _Stage.STARTING

    @classmethod
    def found_running(cls, host: HostContext, plan: MachinePlan) -> Machine:
        """Return the VM that *plan* was carried out for, by a master that has ended since."""
        machine = cls(host, plan)
        machine.image_digest = plan.record.image
        machine.watch.is_there()
        return machine

    @property
    def booted(self) -> bool:
        """Whether its domain is up, however it came up."""
        return self.watch.is_up

    @property
    def pause(self) -> str:
        """Why its domain is paused, without a full stop; empty if it runs, or is to end."""
        return "" if self.is_ending else self.watch.pause

    @property
    def saved(self) -> SavedState | None:
        """What it is resumed from, or about to be."""
        return self.saved_start.state

    @property
    def connection(self) -> Literal["channel", "tcp", ""]:
        """How its worker comes to the master; empty until it has an identity."""
        return self._ways.connection

    @property
    def came_too_late(self) -> bool:
        """Whether another master has taken the slot in the meantime."""
        return self.steps.came_too_late

    @property
    def is_ending(self) -> bool:
        """Whether it is to end, or has ended."""
        return self._stage is _Stage.ENDING

    def spec(self) -> DomainSpec:
        """Return its domain as a whole."""
        return self.makeup.spec(self.record, keeps_disk=self.saved_start.to_save is not None)

    async def prepare(self) -> None:
        """Find the base image and decide how the domain is to run.

        :raises ConfigurationError: if the host has no such image, storage pool, network or filter,
            or the image has to be signed, and is not, or was changed.
        """
        image = await self.makeup.look_up(self.steps)
        self.image_digest = image.digest
        self.record = replace(self.record, image=image.digest)
        await self.makeup.decide_type(self._probe_kvm)
        if self.plan.start != "boot":
            self.saved_start.look(image)

    async def _probe_kvm(self) -> Verdict:
        verdict = partial(kvm_probe.verdict_on_kvm, self.host, self.spec())
        return await self.watch.probed(lambda ended: verdict(ended=ended))

    async def clone(self) -> None:
        """Create the overlay, and the other disks.

        :raises ConfigurationError: if the image has been deleted since it was looked up.
        :raises HostError: if the storage pool refuses, because it is full for instance.
        """
        if self.saved is not None:
            await self.makeup.create_disks_on(self.steps, self.saved)
        else:
            await self.makeup.create_disks(self.steps, self.saved_start.to_save)

    async def boot(self) -> None:
        """Start the domain, listening to the guest from its first instruction on.

        :raises ConfigurationError: if the image has been deleted since it was looked up.
        :raises HostError: if libvirt or QEMU refuses.
        """
        await self.steps.call("start_domain", f"start domain {self.name}", self._start)
        self.watch.is_there()

    async def resume(self, timeout: float) -> bool:
        """Let the VM go on from what it is saved as; return whether it waits.

        If not, the VM can be booted. See :meth:`SavedStart.resume` for what it raises.
        """
        return await self.saved_start.resume(timeout)

    @property
    def is_to_be_saved(self) -> bool:
        """Whether it was booted with a disk that can be saved with it."""
        return self.saved_start.to_save is not None

    async def save(self) -> None:
        """Save the VM, which waits: see :meth:`SavedStart.save`."""
        await self.saved_start.save()

    async def mark(self, **changes: str) -> None:
        """Say of the domain what it is for from now on.

        :param changes: of the :class:`VmRecord`.
        :raises HostError: if libvirt refuses.
        """
        self.record = replace(self.record, **changes)
        if self.booted:
            await self.steps.call("mark", f"say what domain {self.name} is for", self._set_record)

    async def freeze(self, space: int) -> FrozenVm:
        """Save the VM beside its disk: it runs no more, and its slot is free.

        :param space: bytes that memory and disk may take on the host.
        :raises CannotBeFrozenError: if it runs on as it is.
        :raises LatentLibvirtError: if nobody knows what has become of it but its host.
        """
        before = self.record
        await self.mark(state="freezing")
        self.watch.is_being_saved()
        freeze = partial(self.calls.freeze, space=space, guest=self.guest)
        try:
            frozen = await self.steps.call("freeze", f"freeze domain {self.name}", freeze)
        except CannotBeFrozenError:
            self.watch.runs_on()
            await self.mark(state=before.state)
            raise
        if self.is_ending:  # that deletes what is frozen, too
            raise given_up(self.name)
        self.guest.console.finish("it was frozen")
        return frozen

    async def thaw(self, frozen: FrozenVm) -> None:
        """Go on from what is frozen, as the plan's record says.

        :raises LatentLibvirtError: if it does not, or nobody knows but its host.
        """
        thaw = partial(self.calls.thaw, frozen=frozen, record=self.record, guest=self.guest)
        await self.steps.call("thaw", f"thaw domain {self.name}", thaw)
        self.watch.is_there()

    async def measure(self) -> None:
        """Read what it has used so far, if its host says so soon enough."""
        connection, clock = self.host.connection, partial(passed, self.host.reactor)
        measure = self.calls.measure
        # Not one at a time with other steps: a guest that hangs must not keep its VM.
        with contextlib.suppress(LatentLibvirtError):
            what = f"say what {self.name} uses"
            reading = await connection.call("measure_one", what, measure, clock)
            if reading is not None:
                self.meter.note(reading)

    async def picture(self) -> bytes:
        """Return its screen as PNG of at most a MiB.

        :raises LatentLibvirtError: if there is none, or its host does not answer.
        """
        # Not one at a time with other steps: a guest that hangs must not keep its VM.
        what = f"look at the screen of {self.name}"
        return await self.host.connection.call("picture", what, self.calls.picture)

    async def listen(self) -> None:
        """Listen to the guest of a VM that another process has booted.

        It may have been paused, or may have ended, while nobody listened.

        :raises HostError: if libvirt refuses.
        """
        state = await self.steps.call("listen", f"listen to {self.name}", self._listen)
        if state is None:
            self.guest.ended("it ended before its master could listen to it", at_once=True)
        self._note_state(state)

    async def leave_running(self) -> None:
        """Stop to listen, and let the VM run on: the next master finds it.

        :raises HostError: if there is no connection.
        """
        self._ways.close()
        self.guest.console.finish("the master is being stopped")
        await self.steps.call("let_go", f"let {self.name} go", self._stop_listening)

    async def until_waiting(self, timeout: float) -> None:
        """Wait until the guest's launcher waits for an identity.

        :raises GuestError: if the VM ends first, or says nothing in *timeout* seconds.
        """
        advice = "If its console shows that it only needs longer, raise the label's boot_timeout."
        await self.guest.until_it_says("waiting", timeout=timeout, resolution=advice)

    async def rehearse(self) -> None:
        """Let a guest that waits do once what its identity will take, if it knows how to.

        :raises GuestError: if it does not read what is written to it.
        :raises HostError: if there is no connection to its host.
        """
        if self.guest.can_rehearse:
            await self.write_to_guest(REHEARSE)

    async def write_to_guest(self, message: dict[str, Any]) -> None:
        """Write *message* to the launcher.

        :raises GuestError: if it does not read what is written to it.
        :raises HostError: if there is no connection to its host.
        """
        send = self.guest.send
        await self.steps.call("write_to_guest", "write to the guest", lambda _: send(message))

    async def assign(self, identity: Identity) -> None:
        """Give the guest its identity, and wait until it starts the worker.

        :raises GuestError: if it refuses the identity, cannot reach the master, or ends first.
        """
        advice = await self._ways.open(identity, self.guest)
        await self.write_to_guest(identity.message(now=time.time()))
        await self.guest.until_it_says("starting", timeout=STARTING_TIMEOUT, resolution=advice)
        self._stage = max(self._stage, _Stage.ASSIGNED)
        await self.steps.call(
            "close_channel", "close the channel", lambda _connection: self.guest.close_channel()
        )

    async def shut_down(self, timeout: float) -> bool:
        """Ask the guest to power off; return whether it did within *timeout* seconds."""
        self._is_to_end()
        what = f"shut down domain {self.name}"
        await self.steps.call("shut_down", what, self.calls.press_power_button)
        try:
            await self.guest.expect().addTimeout(timeout, self.host.reactor)
        except GuestError:
            return True
        except defer.TimeoutError:
            log.warn(
                "{domain}: the guest did not shut down in {timeout} s; destroying it",
                domain=self.name,
                timeout=timeout,
            )
        return False

    def _is_to_end(self) -> None:
        self._stage = max(self._stage, _Stage.ENDING)
        self._ways.end()

    async def destroy(self) -> None:
        """Leave nothing of this VM on its host: no domain, then no overlay.

        :raises HostError: if that could not be done now; the sweep will do it.
        """
        self._is_to_end()
        self._ways.close()
        self.guest.console.finish("the master has taken it down")
        await self.host.connection.call("destroy", f"destroy domain {self.name}", self._destroy)

    async def write_to_console(self, data: bytes) -> None:
        """Write *data* to the guest's serial console, as if somebody typed it.

        :raises GuestError: if it does not read from there, or does not run.
        :raises HostError: if there is no connection to its host.
        """
        # Not one at a time with other steps: a guest that reads nothing must not keep its VM.
        what = f"reach the console of {self.name}"
        write = self.calls.write_to_console
        await self.host.connection.call("write_to_console", what, write, self.guest, data)

    def connection_is_lost(self) -> None:
        """Note that the console and the channel are gone with the connection to the host."""
        self.is_cut_off = self.booted

    async def connection_is_back(self, *, still_running: bool) -> None:
        """Listen again, after the connection to the host was lost and made again.

        :raises HostError: if that fails; the VM is cut off still.
        :raises GuestError: likewise, if the guest does not read from its channel.
        """
        self.is_cut_off = False
        if not still_running:
            self.guest.ended("it ended while the connection to its host was down", at_once=True)
            return
        try:
            state = await self.steps.call("listen", f"listen to {self.name} again", self._listen)
        except LatentLibvirtError:
            self.is_cut_off = not self.steps.are_over
            raise
        self._note_state(state)

    def _note_state(self, state: tuple[int, int] | None) -> None:
        """Record the event that has led to *state*, of which nobody may have heard."""
        event = None if state is None else lifecycle.event_of_state(*state)
        if event is not None:
            self.domain_event(*event)

    def _listen_to_console_again(self) -> None:
        """Open the console again, after what was typed there has cost us the connection for it."""
        open_console = partial(self.calls.open_console, guest=self.guest)
        opening = Deferred.fromCoroutine(
            self.steps.call("listen", f"open the console of {self.name}", open_console)
        )
        # Then the VM is being destroyed, or its host gone: all is opened again if that comes back.
        opening.addErrback(_expected)
        in_background(opening, self.name)

    def domain_event(self, event: int, detail: int) -> None:
        """Record a lifecycle event of the slot's domain."""
        before = self.pause
        self.watch.event(event, detail, self.guest, is_ending=self.is_ending)
        if self.pause != before:
            self.host.reactor.callLater(SHORT_PAUSE, self._log_pause)

    def _log_pause(self) -> None:
        """Log that it is paused, or goes on, unless that was so for a moment only."""
        pause, before = self.pause, self._logged_pause
        if self.is_ending or pause == before:
            return
        self._logged_pause = pause
        host = self.host.connection
        resume = advice.virsh(host.uri, "resume", self.name)
        said = f"is paused: {pause}. What lets it go on: {resume}" if pause else "goes on"
        log.warn("{domain} on host {host} {said}", domain=self.name, host=host.host, said=said)

    def _new_guest(self) -> Guest:
        guest = Guest(self.name, reactor=self.host.reactor)
        guest.console.lost = self._listen_to_console_again
        return guest

    def begin_again(self) -> None:
        """Take another guest: nothing is left of the one before."""
        self.guest = self._new_guest()

    # In threads of the connection. They read what is so when they run, not when they were asked.

    def _start(self, connection: libvirt.virConnect) -> None:
        self.domain_id = self.calls.start(connection, spec=self.spec(), guest=self.guest)

    def _set_record(self, connection: libvirt.virConnect) -> None:
        self.calls.set_record(connection, self.record)

    def _stop_listening(self, _connection: libvirt.virConnect) -> None:
        self.guest.close_channel()
        self.guest.console.close()

    def _listen(self, connection: libvirt.virConnect) -> tuple[int, int] | None:
        """Listen to the guest, and return the state of its domain."""
        if self.record.state in ("held", "freezing") or self._stage is not _Stage.STARTING:
            self.calls.open_console(connection, self.guest)
        else:
            self.calls.open_streams(connection, self.guest)
        return self.calls.state(connection)

    def _destroy(self, connection: libvirt.virConnect) -> None:
        self.steps.end(connection, self._clear)

    def _clear(self, connection: libvirt.virConnect) -> None:
        self.calls.clear(connection, self.guest)
        self.saved_start.delete(connection)


def _expected(failure: Failure) -> Failure | None:
    return None if isinstance(failure.value, LatentLibvirtError) else failure
