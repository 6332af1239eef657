# SPDX-License-Identifier: GPL-2.0-only
"""All checks of one host, in their order: each only where those before it let it make sense."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from latent_libvirt.doctor import (
    architectures,
    connectivity,
    exposed,
    hardware,
    identity,
    image,
    kvm,
    network,
    size,
    storage,
    vm,
)
from latent_libvirt.doctor.finding import Finding, Status, failed
from latent_libvirt.doctor.stopwatch import Stopwatch
from latent_libvirt.errors import CapacityError, ConfigurationError, HostError, LatentLibvirtError
from latent_libvirt.host.volumes.images import ChangedVolumeError

if TYPE_CHECKING:
    from latent_libvirt.config.sections.label import LabelConfig
    from latent_libvirt.doctor.host_under_test import (
        HostUnderTest,
    )

Report = Callable[[Finding], None]

SWEEP_DEADLINE = 60.0
"""Seconds in which an earlier run's leftovers must be freed."""

_CLOSE_DEADLINE = 10.0
_POLL = 0.05


@dataclass(frozen=True)
class Options:
    """Options of the checks.

    :param vms: start VMs, also the one that tries KVM.
    :param verify_images: download images and compare them with their digests.
    """

    vms: bool = True
    verify_images: bool = False


class Examination:
    """All checks of one host.

    :param report: is given each finding as soon as there is one.
    :param known: who the hosts are that were asked before.
    """

    def __init__(
        self,
        tested: HostUnderTest,
        options: Options,
        report: Report,
        known: identity.Known | None = None,
    ) -> None:
        self._known = {} if known is None else known
        self._patient = tested
        self._options = options
        self._report = report
        self._capabilities: Finding | None = None

    async def run(self) -> None:
        """Do them."""
        host = self._patient.host
        host.start()
        try:
            await self._examine()
        finally:
            # A host that hangs cannot even be closed; its threads do not outlive the process.
            closing = Deferred.fromCoroutine(host.stop_when_empty())
            with contextlib.suppress(defer.TimeoutError):
                await closing.addTimeout(_CLOSE_DEADLINE, self._patient.reactor)

    async def _examine(self) -> None:
        tested = self._patient
        if not await self._do(connectivity.CHECK, connectivity.check(tested)):
            return
        if not await self._do(identity.CHECK, identity.check(tested, self._known)):
            return
        await self._do(exposed.CHECK, exposed.check(tested))
        await self._do(architectures.CHECK, architectures.check(tested))
        has_storage = await self._do(storage.CHECK, storage.check(tested))
        labels = await self._sound_labels() if has_storage else {}
        answers = await self._do(kvm.CAPABILITIES, kvm.capabilities(tested))
        if not self._options.vms:
            await self._do(kvm.CHECK, kvm.offered(tested))
        elif labels and answers:
            await self._examine_vms(labels)

    async def _sound_labels(self) -> dict[str, LabelConfig]:
        """Look at what labels need; return those that have it."""
        tested, verify = self._patient, self._options.verify_images
        permitted = await self._do(storage.PERMISSION, storage.may_change(tested))
        sound = {}
        for name, label in tested.labels.items():
            connected = await self._do(network.check_name(name), network.check(tested, name, label))
            there = await self._do(
                image.check_name(name), image.check(tested, name, label, verify=verify)
            )
            fits = await self._do(size.check_name(name), size.check(tested, name, label))
            has = await self._do(hardware.check_name(name), hardware.check(tested, name, label))
            if permitted and connected and there and fits and has:
                sound[name] = label
        return sound

    async def _examine_vms(self, labels: dict[str, LabelConfig]) -> None:
        tested = self._patient
        if not await self._do(vm.SLOTS, self._swept()):
            return
        if not tested.free_slots():
            return
        if not await self._do(kvm.CHECK, self._kvm(labels)):
            return
        for name, label in labels.items():
            await self._do(vm.check_name(name), self._in_any_slot(name, label))

    async def _kvm(self, labels: dict[str, LabelConfig]) -> list[Finding]:
        """Try KVM with a label's image. Emulated guests say nothing of it."""
        tested = self._patient
        native = [name for name in labels if labels[name].arch == tested.host.architecture]
        if not native:
            return await kvm.offered(tested)
        try:
            return await kvm.works(tested, native[0], tested.free_slots()[0])
        except ConfigurationError as error:
            if not isinstance(error.__cause__, ChangedVolumeError):
                raise
            name = image.check_name(native[0])
            return [failed(name, error, resolution=_advice(name))]

    async def _swept(self) -> list[Finding]:
        """Wait until what a killed run has left is freed; then say how many slots are."""
        waited = Stopwatch()
        while not self._patient.host.usable:
            if waited.seconds > SWEEP_DEADLINE:
                raise HostError(
                    "the host could not be looked through", details=self._patient.host.trouble
                )
            await deferLater(self._patient.reactor, _POLL, lambda: None)
        return await vm.slots(self._patient)

    async def _in_any_slot(self, name: str, label: LabelConfig) -> list[Finding]:
        """Check the label's VM in the first slot that no master takes before us."""
        for slot in self._patient.free_slots():
            with contextlib.suppress(CapacityError):
                return await vm.check(self._patient, name, label, slot)
        return await vm.slots(self._patient)

    async def _do(self, check: str, findings: Awaitable[list[Finding]]) -> bool:
        """Report what a check found; return whether that is good enough to go on."""
        try:
            found = await findings
        except LatentLibvirtError as error:
            found = [failed(check, error, resolution=_advice(check))]
        for each in found:
            self._report(kvm.explained(each, self._capabilities))
            if check == kvm.CAPABILITIES:
                self._capabilities = each
        return all(each.status is not Status.FAILED for each in found)


def _advice(check: str) -> str:
    """Return what to do about an error of libvirt that says nothing on that itself."""
    return _ADVICE.get(check, _ADVICE.get(check.partition(" ")[0], _LOOK_AT_LIBVIRTD))


_LOOK_AT_LIBVIRTD = (
    "See whether libvirtd is alive there, and what it says: journalctl -u libvirtd -u virtqemud."
)
_ADVICE = {
    storage.PERMISSION: "Let the connection's user manage libvirt: the group libvirt, or polkit's "
    "org.libvirt.unix.manage; a socket that ends with -ro is for looking only. The directory of "
    "the storage pool must be writable for libvirtd.",
    "VM": "The console's last lines, if there are any, say how far it came. An image that has "
    "never booted anywhere: build and publish it again, or give the label more memory.",
}
