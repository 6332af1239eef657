# SPDX-License-Identifier: GPL-2.0-only
"""Makeup of one VM: its image, disks, network and processor, as its host has them.

The plan says what the VM is to be. The host says which files and interfaces that is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from latent_libvirt.host import names
from latent_libvirt.host.domains.domain_xml import DomainSpec, Hardware, Port

if TYPE_CHECKING:
    from latent_libvirt.host.context import HostContext
    from latent_libvirt.host.domains.domain_calls import DomainCalls
    from latent_libvirt.host.domains.domain_xml import MoreDisk, VmRecord
    from latent_libvirt.host.domains.hardware_xml import DomainType
    from latent_libvirt.host.domains.plan import MachinePlan
    from latent_libvirt.host.domains.steps import Steps
    from latent_libvirt.host.kvm.accelerator import Verdict
    from latent_libvirt.host.states.saved_states import SavedState
    from latent_libvirt.host.volumes.base_image import BaseImage
    from latent_libvirt.host.volumes.more_disks import Source


class Makeup:
    """What the domain of *plan* is made of."""

    def __init__(self, host: HostContext, plan: MachinePlan, calls: DomainCalls) -> None:
        self._host = host
        self._plan = plan
        self._calls = calls
        self.image: BaseImage | None = None
        self.sources: tuple[Source, ...] = ()
        """What its other disks begin with."""
        self.overlays: Mapping[int, str] = {}
        """The overlays of a VM that is resumed, by number of disk."""
        self._port = Port()
        self._type: DomainType = "qemu"
        self._disk: str | None = None
        self._more_disks: tuple[MoreDisk, ...] = ()

    async def look_up(self, steps: Steps) -> BaseImage:
        """Find the base image, the sources of other disks, and the network; return the first.

        :raises ConfigurationError: if the host has no such image, storage pool, network or filter,
            or the image has to be signed, and is not, or was changed.
        """
        image, self.sources, self._port = await steps.call(
            "resolve_image", f"look up image {self._plan.record.image}", self._calls.look_up
        )
        if image.stamps:
            name = self._plan.vm.image.name or ""
            await self._host.proofs.prove(name, image.digest, image.stamps)
        self.image = image
        self._more_disks = tuple(source.disk() for source in self.sources)
        return image

    async def decide_type(self, probe: Callable[[], Awaitable[Verdict]]) -> None:
        """Decide whether the domain runs on KVM.

        :param probe: tries it with a domain that runs for a moment.
        """
        arch = self._plan.vm.label.arch
        foreign = "" if arch == self._host.architecture else arch
        decide = self._host.accelerator.domain_type
        self._type = await decide(self._host.uuid, probe, foreign=foreign)

    async def create_disks(self, steps: Steps, to_save: names.OwnedVolume | None) -> None:
        """Create the overlay on the image, and the other disks.

        :param to_save: as what they are to be saved; ``None`` if they are not.
        :raises ConfigurationError: if the image has been deleted since it was looked up.
        """
        assert self.image is not None
        create = partial(
            self._calls.disks_of_image, image=self.image, more=self.sources, to_save=to_save
        )
        self._disk, self._more_disks = await steps.call(
            "create_overlay", "create an overlay", create
        )

    async def create_disks_on(self, steps: Steps, state: SavedState) -> None:
        """Create overlays on the disks that were saved with a VM."""
        create = partial(self._calls.disks_of_state, state=state)
        self.overlays = await steps.call("create_overlay", "create an overlay", create)

    def spec(self, record: VmRecord, *, keeps_disk: bool) -> DomainSpec:
        """Return the domain as a whole.

        :param keeps_disk: whether its disks are to be saved with it.
        """
        plan, change = self._plan, self._host.change_domain
        label = plan.vm.label
        assert self.image is not None
        return DomainSpec(
            name=self._calls.name,
            uuid=self._calls.uuid,
            record=record,
            hardware=self._hardware(),
            disk=self._disk,
            boot=self.image.boot,
            keeps_disk=keeps_disk,
            seed=plan.seed,
            more_disks=self._more_disks,
            cpus=self._host.slot_hardware.cpus(plan.slot, label) if label.cpu_pinning else (),
            devices=self._host.slot_hardware.devices(plan.slot, label) if label.devices else (),
            change=None if change is None else partial(change, record.label),
        )

    def _hardware(self) -> Hardware:
        return Hardware(
            type=self._type,
            vm=self._plan.vm,
            mac=names.slot_mac(self._host.uuid, self._plan.slot),
            saveable=self._plan.start != "boot",
            port=self._port,
            host_arch=self._host.architecture,
        )
