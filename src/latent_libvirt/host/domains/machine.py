# SPDX-License-Identifier: GPL-2.0-only
"""One VM: its overlay and its domain, from before they exist until after they are gone.

A :class:`Machine` is used once. ``pool/vm.py`` calls its steps in order, and times them;
whatever happened, :meth:`Machine.destroy` comes last. Who may start how many is decided above.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import Enum, IntEnum, auto
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeVar

import libvirt
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from latent_libvirt.deferreds import in_background
from latent_libvirt.errors import GuestError, LatentLibvirtError
from latent_libvirt.guest.protocol import REHEARSE, SAVE, MasterAddress
from latent_libvirt.host import names
from latent_libvirt.host.channels.network_link import NetworkLink
from latent_libvirt.host.channels.worker_link import WorkerLink
from latent_libvirt.host.domains import lifecycle
from latent_libvirt.host.domains.domain_calls import (
    CannotBeRestoredError,
    DomainCalls,
    SlotTakenError,
)
from latent_libvirt.host.domains.domain_xml import DomainSpec, Hardware, Port
from latent_libvirt.host.guests.guest import Guest
from latent_libvirt.host.kvm import kvm_probe
from latent_libvirt.host.meters.usage import Meter
from latent_libvirt.host.proxy.connection import Proxy
from latent_libvirt.host.states.frozen_io import CannotBeFrozenError
from latent_libvirt.host.states.saved_states import saved_state_key
from latent_libvirt.timers import passed

if TYPE_CHECKING:
    from latent_libvirt.guest.protocol import (
        Identity,
        MasterChannel,
        NetworkChannel,
    )
    from latent_libvirt.host.channels.worker_channels import Line
    from latent_libvirt.host.context import HostContext
    from latent_libvirt.host.domains.domain_xml import MoreDisk
    from latent_libvirt.host.domains.hardware_xml import DomainType
    from latent_libvirt.host.domains.plan import MachinePlan
    from latent_libvirt.host.events import Operation
    from latent_libvirt.host.kvm.accelerator import Verdict
    from latent_libvirt.host.states.frozen import FrozenVm
    from latent_libvirt.host.states.saved_states import (
        SavedState,
    )
    from latent_libvirt.host.volumes.base_image import BaseImage
    from latent_libvirt.host.volumes.more_disks import Source

log = Logger()

T = TypeVar("T")

STARTING_TIMEOUT = 45.0
"""Seconds from the identity to ``starting``; the launcher gives up on the network after 30."""

RESUME_TIMEOUT = 60.0
"""Seconds until a VM that was resumed must say that it waits: it did so when it was saved."""

_TOO_OLD = (
    "Build and publish its image again: its launcher is older than TLS. Until then the port for "
    "workers (c['protocols']['pb']['port'] in master.cfg) has to be plain TCP."
)

SAVEABLE_TIMEOUT = 60.0
"""Seconds that a guest may take to write what it has not written to its disk yet."""


_NO_SAVES = "its launcher does not know what a VM needs that is resumed; build it again"


class _Domain(Enum):
    """A domain of this VM, as far as is known."""

    OFF = auto()
    STARTED = auto()  # libvirt has reported that; the call that starts it has not returned
    UP = auto()


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
        self._calls = DomainCalls(host, plan)
        self.name = self._calls.name
        self.guest = self._new_guest()
        self._image: BaseImage | None = None
        self._image_digest = ""
        self._port = Port()
        self._type: DomainType = "qemu"
        self._disk: str | None = None
        self._sources: tuple[Source, ...] = ()
        self._more_disks: tuple[MoreDisk, ...] = ()
        self._overlays: Mapping[int, str] = {}  # of a VM that is resumed, by number of disk
        self.saved: SavedState | None = None
        """What it is resumed from, or about to be."""
        self._to_save: names.OwnedVolume | None = None
        self.meter = Meter()
        """What its builds have used."""
        self.domain_id: int | None = None
        """libvirt's number of its domain, as long as that is known."""
        self.connection: Literal["channel", "tcp", ""] = ""
        """How its worker comes to the master; empty until it has an identity."""
        self._lines: list[Line] = []
        self.came_too_late = False
        """Whether another master has taken the slot in the meantime."""
        self.is_cut_off = False
        """Whether nobody listens to the guest, since the connection to its host was lost."""
        self._domain = _Domain.OFF
        self._is_being_saved = False  # until libvirt has reported that
        self._stage = _Stage.STARTING
        self._one_at_a_time = threading.Lock()
        self._over = False  # nothing may be started any more; written with the lock
        self._probe: Deferred[bool] | None = None

    @classmethod
    def found_running(cls, host: HostContext, plan: MachinePlan) -> Machine:
        """Return the VM that *plan* was carried out for, by a master that has ended since."""
        machine = cls(host, plan)
        machine._image_digest = plan.record.image
        machine._domain = _Domain.UP
        return machine

    @property
    def booted(self) -> bool:
        """Whether its domain is up, however it came up."""
        return self._domain is _Domain.UP

    @property
    def image_digest(self) -> str:
        """The digest of the base image; empty until :meth:`prepare` is done."""
        return self._image_digest

    @property
    def image(self) -> BaseImage:
        """The base image; known once :meth:`prepare` is done."""
        assert self._image is not None
        return self._image

    async def prepare(self) -> None:
        """Find the base image and decide how the domain is to run.

        :raises ConfigurationError: if the host has no such image, storage pool, network or filter,
            or the image has to be signed, and is not, or was changed.
        """
        image, self._sources, self._port = await self._call(
            "resolve_image", f"look up image {self.plan.record.image}", self._calls.look_up
        )
        if image.stamps:
            name = self.plan.vm.image.name or ""
            await self.host.proofs.prove(name, image.digest, image.stamps)
        self._image, self._image_digest = image, image.digest
        self._more_disks = tuple(source.disk() for source in self._sources)
        self.record = replace(self.record, image=self._image_digest)
        self._type = await self._decide_type()
        if self.plan.start != "boot":
            self._look_for_saved()

    async def _decide_type(self) -> DomainType:
        arch = self.plan.vm.label.arch
        foreign = "" if arch == self.host.architecture else arch
        decide = self.host.accelerator.domain_type
        return await decide(self.host.uuid, self._probe_kvm, foreign=foreign)

    async def clone(self) -> None:
        """Create the overlay, and the other disks.

        :raises ConfigurationError: if the image has been deleted since it was looked up.
        :raises HostError: if the storage pool refuses, because it is full for instance.
        """
        if self.saved is not None:
            on_state = partial(self._calls.disks_of_state, state=self.saved)
            self._overlays = await self._create_disks(on_state)
            return
        on_image = partial(
            self._calls.disks_of_image,
            image=self.image,
            more=self._sources,
            to_save=self._to_save,
        )
        self._disk, self._more_disks = await self._create_disks(on_image)

    async def _create_disks(self, create: Callable[[libvirt.virConnect], T]) -> T:
        return await self._call("create_overlay", "create an overlay", create)

    async def boot(self) -> None:
        """Start the domain, listening to the guest from its first instruction on.

        :raises ConfigurationError: if the image has been deleted since it was looked up.
        :raises HostError: if libvirt or QEMU refuses.
        """
        await self._call("start_domain", f"start domain {self.name}", self._start)
        self._domain = _Domain.UP

    async def resume(self, timeout: float) -> bool:
        """Let the VM go on from what it is saved as, on a new overlay; return whether it waits.

        If not, that state is thrown away, nothing is left of the attempt, and the VM can be booted.

        :raises ConfigurationError: if the image has been deleted since it was looked up.
        :raises CapacityError: if another master has taken the slot in the meantime.
        :raises HostError: if the host cannot do it now.
        """
        try:
            await self.clone()
            await self._call("restore", f"resume domain {self.name}", self._restore)
            self._domain = _Domain.UP
            await self.until_waiting(min(timeout, RESUME_TIMEOUT))
        except (CannotBeRestoredError, GuestError) as error:
            if self._is_ending:
                raise
            await self._start_over(str(error))
            return False
        return True

    @property
    def is_to_be_saved(self) -> bool:
        """Whether it was booted with a disk that can be saved with it."""
        return self._to_save is not None

    async def save(self) -> None:
        """Save the VM, which waits: it is gone then, and its slot is saved.

        One that cannot be saved runs on as it is, and :attr:`saved` stays ``None``.

        :raises GuestError: if it ends, or does not get ready to be saved.
        :raises HostError: if there is no connection to its host.
        """
        try:
            if self.guest.can_be_saved:
                await self._get_ready_and_save()
            elif self.host.saved.states.note_unfit(self._image_digest, _NO_SAVES):
                log.warn(
                    "image {image}: its VMs are booted, not resumed: {why}",
                    image=self._image_digest,
                    why=_NO_SAVES,
                )
        finally:
            self.host.saved.states.end(self.record.vm_id)

    async def mark(self, **changes: str) -> None:
        """Say of the domain what it is for from now on.

        :param changes: of the :class:`VmRecord`.
        :raises HostError: if libvirt refuses.
        """
        self.record = replace(self.record, **changes)
        if self.booted:
            await self._call("mark", f"say what domain {self.name} is for", self._set_record)

    async def freeze(self, space: int) -> FrozenVm:
        """Save the VM beside its disk: it runs no more, and its slot is free.

        :param space: bytes that memory and disk may take on the host.
        :raises CannotBeFrozenError: if it runs on as it is.
        :raises LatentLibvirtError: if nobody knows what has become of it but its host.
        """
        before = self.record
        await self.mark(state="freezing")
        self._is_being_saved, self._domain = True, _Domain.OFF
        freeze = partial(self._calls.freeze, space=space, guest=self.guest)
        try:
            frozen = await self._call("freeze", f"freeze domain {self.name}", freeze)
        except CannotBeFrozenError:
            self._is_being_saved, self._domain = False, _Domain.UP
            await self.mark(state=before.state)
            raise
        if self._is_ending:  # that deletes what is frozen, too
            raise GuestError(f"VM {self.name} has been given up")
        self.guest.console.finish("it was frozen")
        return frozen

    async def thaw(self, frozen: FrozenVm) -> None:
        """Go on from what is frozen, as the plan's record says.

        :raises LatentLibvirtError: if it does not, or nobody knows but its host.
        """
        thaw = partial(self._calls.thaw, frozen=frozen, record=self.record, guest=self.guest)
        await self._call("thaw", f"thaw domain {self.name}", thaw)
        self._domain = _Domain.UP

    async def measure(self) -> None:
        """Read what it has used so far, if its host says so soon enough."""
        connection, clock = self.host.connection, partial(passed, self.host.reactor)
        measure = self._calls.measure
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
        return await self.host.connection.call("picture", what, self._calls.picture)

    async def listen(self) -> None:
        """Listen to the guest of a VM that another process has booted.

        :raises HostError: if libvirt refuses.
        """
        await self._call("listen", f"listen to {self.name}", self._listen)

    async def leave_running(self) -> None:
        """Stop to listen, and let the VM run on: the next master finds it.

        :raises HostError: if there is no connection.
        """
        self._close_lines()
        self.guest.console.finish("the master is being stopped")
        await self._call("let_go", f"let {self.name} go", self._stop_listening)

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
            send = self.guest.send
            await self._call("write_to_guest", "write to the guest", lambda _: send(REHEARSE))

    async def assign(self, identity: Identity) -> None:
        """Give the guest its identity, and wait until it starts the worker.

        :raises GuestError: if it refuses the identity, cannot reach the master, or ends first.
        """
        advice = await self._open_way_to(identity.master)
        if identity.network is not None:
            await self._open_network(identity.network)
        message = identity.message(now=time.time())
        await self._call(
            "write_to_guest", "write to the guest", lambda _connection: self.guest.send(message)
        )
        await self.guest.until_it_says("starting", timeout=STARTING_TIMEOUT, resolution=advice)
        self._stage = max(self._stage, _Stage.ASSIGNED)
        await self._call(
            "close_channel", "close the channel", lambda _connection: self.guest.close_channel()
        )

    async def _open_way_to(self, master: MasterAddress | MasterChannel) -> str:
        """Let the worker come to its master; return what to look at if it does not."""
        if isinstance(master, MasterAddress):
            self.connection = "tcp"
            if master.certificate is not None and not self.guest.can_speak_tls:
                brief = f"the launcher in VM {self.name} speaks no TLS"
                raise GuestError(brief, resolution=_TOO_OLD)
            return f"Check that guests reach {master.host} port {master.port}."
        self.connection = "channel"
        link = WorkerLink(str(self), master.session, master.factory, reactor=self.host.reactor)
        self._keep(await self.host.channels.line(link, self._calls.find))
        return "Its launcher did not open the worker's channel: build its image again."

    async def _open_network(self, network: NetworkChannel) -> None:
        """Let builds reach the forward proxy."""
        proxy = Proxy(
            network.policy,
            network.record,
            self.host.resolver,
            self.host.reactor,
            cache=network.cache,
        )
        link = NetworkLink(str(self), network.session, proxy.connection, reactor=self.host.reactor)
        self._keep(await self.host.network_channels.line(link, self._calls.find))

    def __str__(self) -> str:
        return f"VM {self.name} on host {self.host.connection.host}"

    def _keep(self, line: Line) -> None:
        self._lines.append(line)
        if self._is_ending:
            self._close_lines()
            raise GuestError(f"VM {self.name} has been given up")

    def _close_lines(self) -> None:
        while self._lines:
            self._lines.pop().close()

    async def shut_down(self, timeout: float) -> bool:
        """Ask the guest to power off; return whether it did within *timeout* seconds."""
        self._stage = max(self._stage, _Stage.ENDING)
        what = f"shut down domain {self.name}"
        await self._call("shut_down", what, self._calls.press_power_button)
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

    async def destroy(self) -> None:
        """Leave nothing of this VM on its host: no domain, then no overlay.

        :raises HostError: if that could not be done now; the sweep will do it.
        """
        self._stage = max(self._stage, _Stage.ENDING)
        self._close_lines()
        self.guest.console.finish("the master has taken it down")
        await self.host.connection.call("destroy", f"destroy domain {self.name}", self._destroy)

    async def write_to_console(self, data: bytes) -> None:
        """Write *data* to the guest's serial console, as if somebody typed it.

        :raises GuestError: if it does not read from there, or does not run.
        :raises HostError: if there is no connection to its host.
        """
        # Not one at a time with other steps: a guest that reads nothing must not keep its VM.
        what = f"reach the console of {self.name}"
        write = self._calls.write_to_console
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
            await self._call("listen", f"listen to {self.name} again", self._listen)
        except LatentLibvirtError:
            self.is_cut_off = not self._over
            raise

    def _listen_to_console_again(self) -> None:
        """Open the console again, after what was typed there has cost us the connection for it."""
        open_console = partial(self._calls.open_console, guest=self.guest)
        opening = Deferred.fromCoroutine(
            self._call("listen", f"open the console of {self.name}", open_console)
        )
        # Then the VM is being destroyed, or its host gone: all is opened again if that comes back.
        opening.addErrback(_expected)
        in_background(opening, self.name)

    def domain_event(self, event: int, detail: int) -> None:
        """Record a lifecycle event of the slot's domain."""
        if self._is_being_saved and lifecycle.was_saved(event, detail):
            self._is_being_saved = False
            return
        if event == libvirt.VIR_DOMAIN_EVENT_STARTED and not self.booted:
            self._domain = _Domain.STARTED
        reason = lifecycle.end_of_vm(event, detail)
        if reason is None or self._domain is _Domain.OFF:
            return  # An end before the start is that of the slot's last domain, reported late.
        if self._probe is None:
            self.guest.ended(reason, at_once=self._is_ending)
        elif not self._probe.called:
            self._probe.callback(lifecycle.powered_itself_off(event, detail))

    def _new_guest(self) -> Guest:
        guest = Guest(self.name, reactor=self.host.reactor)
        guest.console.lost = self._listen_to_console_again
        return guest

    def _look_for_saved(self) -> None:
        """Find what it can be resumed from, or else the name under which it is to be saved."""
        slot, states = self.plan.slot, self.host.saved.states
        volumes = [source for source in self._sources if source.path]
        key = saved_state_key(
            self._spec(),
            image=" ".join([self.image.version, *(each.changed for each in volumes)]),
            fingerprint=states.fingerprint,
        )
        for state in states.outdated(slot, key, self.record.spec_hash):
            self.host.saved.retire(state, "its image or its host is not the same any more")
        if self.plan.start == "resume":
            self._go_on_from(states.claim(slot, key))
        if self.saved is None and states.begin(self.record.vm_id, self._image_digest):
            self._to_save = names.OwnedVolume(self.record.owner_id, slot, self.record.vm_id, key)

    def _go_on_from(self, state: SavedState | None) -> None:
        self.saved = state
        self.record = replace(self.record, saved="" if state is None else state.name.vm_id)

    async def _start_over(self, why: str) -> None:
        """Leave nothing of the attempt to resume, and never make it again."""
        assert self.saved is not None
        state, guest = self.saved, self.guest
        guest.console.finish("it could not be resumed, and is booted")
        self._domain = _Domain.OFF
        clear = partial(self._calls.clear, guest=guest)
        try:
            await self._call("destroy", f"clear the slot of domain {self.name}", clear)
        finally:
            self._go_on_from(None)
            self.host.saved.reject(state, why)
        self.guest = self._new_guest()

    async def _get_ready_and_save(self) -> None:
        assert self._to_save is not None
        await self._call("write_to_guest", "write to the guest", lambda _: self.guest.send(SAVE))
        advice = "Nothing but its disk can hold it up: look at the host's storage."
        await self.guest.until_it_says("saveable", timeout=SAVEABLE_TIMEOUT, resolution=advice)
        self._is_being_saved, self._domain = True, _Domain.OFF
        save = partial(self._calls.save, name=self._to_save)
        state = await self._call("save", f"save domain {self.name}", save)
        if state is None:
            self._is_being_saved, self._domain = False, _Domain.UP
        elif not self._is_ending:  # that deletes the state, too
            self._is_saved_as(state)

    def _is_saved_as(self, state: SavedState) -> None:
        self.meter.goes_on()
        self._to_save = None
        self.guest.forget_what_it_said()
        self.host.saved.add(state)
        if self.plan.start == "resume":
            self._go_on_from(state)

    async def _probe_kvm(self) -> Verdict:
        self._probe = Deferred()
        try:
            return await kvm_probe.verdict_on_kvm(self.host, self._spec(), ended=self._probe)
        finally:
            self._probe = None
            self._domain = _Domain.OFF

    async def _call(
        self, operation: Operation, what: str, function: Callable[[libvirt.virConnect], T]
    ) -> T:
        try:
            return await self.host.connection.call(operation, what, self._unless_over, function)
        except SlotTakenError:
            self.came_too_late = True
            raise

    def _unless_over(
        self, connection: libvirt.virConnect, function: Callable[[libvirt.virConnect], T]
    ) -> T:
        """Call *function* unless the VM is destroyed: a start given up must not come after that."""
        with self._one_at_a_time:
            if self._over:
                raise GuestError(f"VM {self.name} has been given up")
            return function(connection)

    @property
    def _is_ending(self) -> bool:
        return self._stage is _Stage.ENDING

    def _spec(self) -> DomainSpec:
        plan, change = self.plan, self.host.change_domain
        label = plan.vm.label
        return DomainSpec(
            name=self.name,
            uuid=self._calls.uuid,
            record=self.record,
            hardware=Hardware(
                type=self._type,
                vm=plan.vm,
                mac=names.slot_mac(self.host.uuid, plan.slot),
                saveable=plan.start != "boot",
                port=self._port,
                host_arch=self.host.architecture,
            ),
            disk=self._disk,
            boot=self.image.boot,
            keeps_disk=self._to_save is not None,
            seed=plan.seed,
            more_disks=self._more_disks,
            cpus=self.host.cpus_of(plan.slot, label) if label.cpu_pinning else (),
            devices=self.host.devices_of(plan.slot, label) if label.devices else (),
            change=None if change is None else partial(change, self.record.label),
        )

    # In threads of the connection. They read what is so when they run, not when they were asked.

    def _start(self, connection: libvirt.virConnect) -> None:
        self.domain_id = self._calls.start(connection, spec=self._spec(), guest=self.guest)

    def _restore(self, connection: libvirt.virConnect) -> None:
        assert self.saved is not None
        self.domain_id = self._calls.restore(
            connection,
            state=self.saved,
            disks=self._overlays,
            record=self.record,
            guest=self.guest,
        )

    def _set_record(self, connection: libvirt.virConnect) -> None:
        self._calls.set_record(connection, self.record)

    def _stop_listening(self, _connection: libvirt.virConnect) -> None:
        self.guest.close_channel()
        self.guest.console.close()

    def _listen(self, connection: libvirt.virConnect) -> None:
        if self.record.state in ("held", "freezing") or self._stage is not _Stage.STARTING:
            self._calls.open_console(connection, self.guest)
        else:
            self._calls.open_streams(connection, self.guest)

    def _destroy(self, connection: libvirt.virConnect) -> None:
        with self._one_at_a_time:
            self._over = True
            self._calls.clear(connection, self.guest)
            if self._to_save is not None:
                self._calls.delete_state(connection, self._to_save)


def _expected(failure: Failure) -> Failure | None:
    return None if isinstance(failure.value, LatentLibvirtError) else failure
