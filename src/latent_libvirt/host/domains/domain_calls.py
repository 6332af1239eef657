# SPDX-License-Identifier: GPL-2.0-only
"""Calls to libvirt about the domain and the overlay of one VM.

Each of them blocks, and belongs in a thread of the host's connection. ``machine.py`` decides which
comes when.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import libvirt
from twisted.logger import Logger

from latent_libvirt.errors import (
    ConfigurationError,
    GuestError,
    HostError,
)
from latent_libvirt.host import names
from latent_libvirt.host.domains import hardware_xml, screen, slot_domains, start_errors
from latent_libvirt.host.domains.domain_xml import domain_xml
from latent_libvirt.host.domains.start_errors import CannotBeRestoredError, SlotTakenError
from latent_libvirt.host.libvirtd.answers import name_of, parsed
from latent_libvirt.host.meters import usage
from latent_libvirt.host.states import frozen_io, state_io
from latent_libvirt.host.states.frozen_io import CannotBeFrozenError
from latent_libvirt.host.states.moving.layers import lower
from latent_libvirt.host.volumes import base_image, more_disks, storage

if TYPE_CHECKING:
    from latent_libvirt.host.context import HostContext
    from latent_libvirt.host.domains.domain_xml import DomainSpec, MoreDisk, Port, VmRecord
    from latent_libvirt.host.domains.plan import MachinePlan
    from latent_libvirt.host.domains.slot_domains import SlotDomain
    from latent_libvirt.host.guests.guest import Guest
    from latent_libvirt.host.states.frozen import FrozenVm
    from latent_libvirt.host.states.saved_states import SavedState
    from latent_libvirt.host.volumes.base_image import BaseImage

log = Logger()

T = TypeVar("T")


class DomainCalls:
    """What is asked of one host about the VM of *plan*."""

    def __init__(self, host: HostContext, plan: MachinePlan) -> None:
        self._host = host
        self._plan = plan
        self.name = names.domain_name(plan.slot)
        self.uuid = names.slot_uuid(host.uuid, plan.slot)
        record = plan.record
        self.overlay = names.OwnedVolume(record.owner_id, plan.slot, record.vm_id)
        self.frozen = replace(self.overlay, is_frozen=True)

    # Before the start.

    def look_up(
        self, connection: libvirt.virConnect
    ) -> tuple[BaseImage, tuple[more_disks.Source, ...], Port]:
        """Return the base image, what other disks begin with, and how the network is attached.

        :raises ConfigurationError: if the host has no such image, volume, storage pool, network or
            filter.
        """
        image, disks = self._resolve_image(connection), self._plan.vm.label.disks
        with self._naming_the_host():
            look = partial(more_disks.sources, disks=disks)
            found = self._in_pool(connection, look) if disks else ()
            return image, found, self._host.ports.port(connection, self._plan.vm.network)

    def _resolve_image(self, connection: libvirt.virConnect) -> BaseImage:
        def resolve(pool: libvirt.virStoragePool) -> BaseImage:
            return self._host.catalog.resolve(pool, self._plan.vm.image, version=self._plan.version)

        with self._naming_the_host():
            image = self._in_pool(connection, resolve)
            name = self._plan.vm.image.name or image.volume
            base_image.refuse_foreign(image, name=name, label=self._plan.vm.label)
            return image

    @contextlib.contextmanager
    def _naming_the_host(self) -> Iterator[None]:
        try:
            yield
        except ConfigurationError as error:
            brief = f"host {self._host.connection.host}: {error.brief}"
            raise ConfigurationError(
                brief, details=error.details, resolution=error.resolution
            ) from error

    def _in_pool(
        self, connection: libvirt.virConnect, do: Callable[[libvirt.virStoragePool], T]
    ) -> T:
        return storage.in_pool(connection, self._host.storage_pool, do)

    def disks_of_image(
        self,
        connection: libvirt.virConnect,
        image: BaseImage,
        more: tuple[more_disks.Source, ...],
        *,
        to_save: names.OwnedVolume | None,
    ) -> tuple[str, tuple[MoreDisk, ...]]:
        """Create the overlay on the base image, and the other disks; return where they are.

        :param to_save: as what they are to be saved; ``None`` if they are not.
        :raises ConfigurationError: if the image has been deleted since it was looked up.
        """
        name = to_save or self.overlay
        capacity = self._plan.vm.label.disk

        def create(pool: libvirt.virStoragePool) -> tuple[str, tuple[MoreDisk, ...]]:
            path = storage.create_overlay(pool, name, base=image.backing, capacity=capacity)
            return path, more_disks.create(pool, more, name)

        try:
            return self._in_pool(connection, create)
        except libvirt.libvirtError:
            self._check_image(connection)
            raise

    def disks_of_state(
        self, connection: libvirt.virConnect, state: SavedState
    ) -> Mapping[int, str]:
        """Create overlays on the disks that were saved with a VM; return their paths on the host.

        :raises CannotBeRestoredError: if somebody has deleted the state.
        :raises ConfigurationError: if the image has been deleted since it was looked up.
        """
        try:
            create = partial(more_disks.create_on_saved, saved=state.disks, name=self.overlay)
            return self._in_pool(connection, create)
        except libvirt.libvirtError:
            self._check_image(connection)
            if self._in_pool(connection, partial(state_io.read, name=state.name)) is None:
                raise CannotBeRestoredError("somebody has deleted it") from None
            raise

    def _check_image(self, connection: libvirt.virConnect) -> None:
        """After something that needs the image has failed: raise if it has been deleted since.

        A host that cannot say so is left to the first failure, which says more.
        """
        with contextlib.suppress(libvirt.libvirtError):
            self._in_pool(connection, storage.refresh)
            self._resolve_image(connection)

    # From the start to the end.

    def start(self, connection: libvirt.virConnect, *, spec: DomainSpec, guest: Guest) -> int:
        """Start the domain, with *guest* heard from its first instruction on; return its id.

        :raises SlotTakenError: if another domain is in the slot.
        :raises ConfigurationError: if the image has been deleted, or the label cannot be had.
        """
        xml = domain_xml(spec)
        try:
            domain = connection.createXML(xml, start_flags(xml))
        except libvirt.libvirtError as error:
            self._give_way(connection, error)
            self._check_image(connection)
            start_errors.check(error, host=self._host.connection.host, label=spec.record.label)
            raise
        self._refuse_shared_cpus(connection, self._pinned_cpus(domain))
        guest.open_streams(domain)
        domain.resume()
        return int(domain.ID())

    def _pinned_cpus(self, domain: libvirt.virDomain) -> frozenset[int]:
        return _pinned_cpus(domain) if self._plan.vm.label.cpu_pinning else frozenset()

    def _refuse_shared_cpus(self, connection: libvirt.virConnect, mine: frozenset[int]) -> None:
        """Refuse a VM, which exists but has not run, whose CPUs another one is pinned to.

        Each of two that start at the same time sees the other one.

        :param mine: the CPUs that it is pinned to.
        :raises ConfigurationError: and which one that is.
        """
        if not mine:
            return
        for other in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
            shared = mine & _pinned_cpus(other) if other.UUIDString() != self.uuid else None
            if shared:
                raise ConfigurationError(
                    f"slot {self._plan.slot} of host {self._host.connection.host} has CPU "
                    f"{min(shared)}, and so has domain {name_of(other) or 'of another name'}",
                    resolution="Give all masters that share the host the same pinned_cpus. Before "
                    "you change them, drain the host and release its frozen VMs.",
                )

    def restore(
        self,
        connection: libvirt.virConnect,
        *,
        state: SavedState,
        disks: Mapping[int, str],
        record: VmRecord,
        guest: Guest,
    ) -> int:
        """Let the VM go on from *state*, on the overlays *disks*.

        :raises SlotTakenError: if another domain is in the slot.
        :raises CannotBeRestoredError: if libvirt cannot restore it, whatever the host has.
        :raises ConfigurationError: if the label's network cannot be had.
        """
        try:
            domain = state_io.restore(connection, state, disks=disks, record=record)
        except libvirt.libvirtError as error:
            self._give_way(connection, error)
            if not connection.isAlive() or start_errors.may_pass(error):
                raise
            if start_errors.at_fault(error) == "network":
                start_errors.check(error, host=self._host.connection.host, label=record.label)
            raise CannotBeRestoredError(str(error)) from error
        self._refuse_shared_cpus(connection, self._pinned_cpus(domain))
        # Before it runs: so the guest never hears that nobody was there for a while.
        guest.open_streams(domain)
        domain.resume()
        return int(domain.ID())

    def _give_way(self, connection: libvirt.virConnect, error: libvirt.libvirtError) -> None:
        """Say so if the start failed because another master has taken the slot in the meantime."""
        there: list[SlotDomain] = []
        with contextlib.suppress(libvirt.libvirtError):  # the first failure says more
            there = slot_domains.slot_domains(connection, self._host.uuid)
        taken = next((str(each) for each in there if each.slot == self._plan.slot), "")
        if taken or slot_domains.was_in_the_way(error):
            raise SlotTakenError(
                f"slot {self._plan.slot} of host {self._host.connection.host} has been taken by "
                "somebody else",
                details=taken or str(error),
            )

    def save(self, connection: libvirt.virConnect, name: names.OwnedVolume) -> SavedState | None:
        """Save the domain as *name*; if that fails and it runs on, return nothing.

        :raises GuestError: if it has ended.
        """
        domain = self.find(connection)
        if domain is None:
            raise GuestError(f"VM {self.name} has ended before it could be saved")
        try:
            save = partial(state_io.save, domain=domain, name=name)
            return self._in_pool(connection, save)
        except libvirt.libvirtError as error:
            if self.find(connection) is None:
                raise
            log.warn("{domain} cannot be saved: {error}", domain=self.name, error=str(error))
            return None

    def freeze(self, connection: libvirt.virConnect, *, space: int, guest: Guest) -> FrozenVm:
        """Save the domain beside its overlay.

        :param space: bytes that both may take.
        :raises CannotBeFrozenError: if it runs on.
        :raises GuestError: if it has ended.
        """
        domain = self.find(connection)
        if domain is None:
            raise GuestError(f"VM {self.name} has ended before it could be frozen")
        try:
            freeze = partial(frozen_io.freeze, domain=domain, name=self.frozen, space=space)
            frozen = self._in_pool(connection, freeze)
        except libvirt.libvirtError as error:
            if self.find(connection) is None:
                raise
            raise CannotBeFrozenError(f"libvirt cannot save it: {error}") from error
        guest.close_channel()
        guest.console.close()
        return frozen

    def thaw(
        self, connection: libvirt.virConnect, *, frozen: FrozenVm, record: VmRecord, guest: Guest
    ) -> None:
        """Let the frozen VM go on, and delete its memory, which is out of date then.

        :raises SlotTakenError: if another domain is in the slot.
        :raises ConfigurationError: if another one has its CPUs.
        """
        storage_pool = self._host.storage_pool
        # Before it runs, which makes its memory in the file out of date.
        pins = hardware_xml.pinned_cpus(parsed(frozen.xml, "a frozen VM"))
        self._refuse_shared_cpus(connection, pins)
        try:
            domain = frozen_io.thaw(connection, frozen, record)
        except libvirt.libvirtError as error:
            self._give_way(connection, error)
            raise
        with contextlib.suppress(libvirt.libvirtError):  # the sweep will do it
            frozen_io.delete_memory(connection, storage_pool, frozen.name)
        guest.console.open(domain)

    def measure(self, connection: libvirt.virConnect, clock: usage.Clock) -> usage.Reading | None:
        """Return what the VM has used so far; ``None`` if it is gone, or libvirt is busy."""
        domain = self.find(connection)
        return None if domain is None else usage.read_one(connection, domain, clock)

    def picture(self, connection: libvirt.virConnect) -> bytes:
        """Return the VM's screen as PNG.

        :raises GuestError: if it is gone, has no screen, or one that is too large.
        """
        domain = self.find(connection)
        if domain is None:
            raise GuestError(f"VM {self.name} has no screen: it does not run")
        return screen.picture(domain)

    def find(self, connection: libvirt.virConnect) -> libvirt.virDomain | None:
        """Return the domain, if it is there and this VM's: a slot's name outlives VMs."""
        return slot_domains.find_domain(connection, self.name, vm_id=self.overlay.vm_id)

    def set_record(self, connection: libvirt.virConnect, record: VmRecord) -> None:
        """Have the domain's metadata state *record*."""
        domain = self.find(connection)
        if domain is not None:
            slot_domains.set_record(domain, record)

    def open_streams(self, connection: libvirt.virConnect, guest: Guest) -> None:
        """Listen to the console and the channel."""
        domain = self.find(connection)
        if domain is not None:
            guest.open_streams(domain)

    def state(self, connection: libvirt.virConnect) -> tuple[int, int] | None:
        """Return the state of the domain, and its reason; ``None`` if it is gone."""
        domain = self.find(connection)
        if domain is None:
            return None
        state, reason, *_more = domain.state()
        return int(state), int(reason)

    def open_console(self, connection: libvirt.virConnect, guest: Guest) -> None:
        """Listen to the console alone."""
        domain = self.find(connection)
        if domain is not None:
            guest.console.open(domain)

    def write_to_console(self, _: libvirt.virConnect, guest: Guest, data: bytes) -> None:
        """Write *data*, on a connection that this may cost."""
        another = self._host.connection.another
        guest.console.write(data, lambda: self.find(another()))

    def press_power_button(self, connection: libvirt.virConnect) -> None:
        """Ask the guest to power off."""
        domain = self.find(connection)
        if domain is not None:
            domain.shutdownFlags(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)

    # The end.

    def clear(self, connection: libvirt.virConnect, guest: Guest) -> None:
        """Leave no domain of this VM, then no overlay and no other disk."""
        guest.close_channel()
        guest.console.give_back()
        try:
            slot_domains.destroy_domain(connection, self.name, vm_id=self.overlay.vm_id)
        finally:
            guest.console.close()
        volumes = (self.frozen, *self._volumes(self.overlay))
        self._in_pool(connection, partial(storage.delete_all, volumes=volumes))

    def delete_state(self, connection: libvirt.virConnect, name: names.OwnedVolume) -> None:
        """Delete what was saved as *name*, whole or not."""
        state_io.delete(connection, self._host.storage_pool, self._volumes(name))

    def _volumes(self, name: names.OwnedVolume) -> list[names.OwnedVolume]:
        found = [name, *more_disks.owned(self._plan.vm.label.disks, name)]
        # Only a VM that is held may be of another host, where each disk may have had a layer more.
        return [*found, *map(lower, found)] if self._plan.record.state in _HELD else found


_HELD: Final = ("held", "freezing")


def _pinned_cpus(domain: libvirt.virDomain) -> frozenset[int]:
    """Return the CPUs that a domain is pinned to; none if it has gone, or may not be read.

    One of a stranger's, such as with a path that is no text, is in the way of no start.
    """
    try:
        return hardware_xml.pinned_cpus(parsed(domain.XMLDesc(), "a domain"))
    except (UnicodeDecodeError, HostError):
        return frozenset()
    except libvirt.libvirtError as error:
        if error.get_error_code() not in _NOT_TO_BE_READ:
            raise
        return frozenset()


_NOT_TO_BE_READ: Final = (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_ACCESS_DENIED)


def start_flags(xml: str) -> int:
    """Return flags that let nothing of an earlier VM of the slot be there.

    libvirt keeps the variables of a firmware in a file that is named like the domain.

    :param xml: of the domain: a fragment or a function of ``master.cfg`` may give it a firmware.
    """
    flags = libvirt.VIR_DOMAIN_START_PAUSED | libvirt.VIR_DOMAIN_START_VALIDATE
    os = parsed(xml, "a domain").find("os")
    if os is not None and (os.get("firmware") or any(os.find(tag) is not None for tag in _UEFI)):
        flags |= libvirt.VIR_DOMAIN_START_RESET_NVRAM
    return int(flags)


_UEFI: Final = ("firmware", "loader", "nvram")
"""Elements of `os` that only domains with a UEFI have."""
