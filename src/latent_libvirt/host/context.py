# SPDX-License-Identifier: GPL-2.0-only
"""Contexts: what hosts get from their pool, and what runs on a host gets from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from latent_libvirt.host.events import NullEvents

if TYPE_CHECKING:
    from latent_libvirt.host.channels.worker_channels import WorkerChannels
    from latent_libvirt.host.domains.domain_xml import VmRecord
    from latent_libvirt.host.domains.machine import Machine
    from latent_libvirt.host.domains.slot_domains import SlotDomain
    from latent_libvirt.host.domains.slot_hardware import SlotHardware
    from latent_libvirt.host.events import HostEvents
    from latent_libvirt.host.host import Host
    from latent_libvirt.host.kvm.accelerator import Accelerator, ProbeMemory
    from latent_libvirt.host.libvirtd.connection import Connection
    from latent_libvirt.host.meters.usage import Reading
    from latent_libvirt.host.names import Owner
    from latent_libvirt.host.networks.ports import Ports
    from latent_libvirt.host.proxy.resolver import Resolver
    from latent_libvirt.host.states.frozen import FrozenVms
    from latent_libvirt.host.states.state_store import StateKeeper
    from latent_libvirt.host.volumes.base_image import Catalog
    from latent_libvirt.host.volumes.proof import Proofs


STOP_TIMEOUT = 120.0
"""Seconds that a host which is to be closed waits for its VMs to be released."""


ChangeDomain = Callable[[str, Any], object]
"""Changes the domain, an element of lxml's, of a VM of the label of that name."""


Abandoned = Callable[[str, "VmRecord", "Reading"], None]


def _forget(_host: str, _record: VmRecord, _reading: Reading) -> None:
    """Charge nobody."""


def _adopt_nothing(_host: Host, _domain: SlotDomain) -> bool:
    return False


async def _nobody_is_dead(_pools: Collection[str]) -> frozenset[str]:
    return frozenset()


@dataclass(frozen=True)
class PoolContext:
    """What all hosts of a pool share.

    :param machines: the VMs of the whole pool, on any host, by id: each host adds its own.
    :param changed: called whenever a host's ``usable`` or ``blocked_slots`` may have changed.
    :param adopt: called with a VM of this owner that no living master has registered but that was
        to outlive the last one (a spare, or held); whether somebody wants it.
    :param dead_owners: returns the ids of owners that will never come back for what is theirs;
        called with the names of the pools that they may have had.
    :param failed_over_owners: called like that, returns the ids of owners whose jobs were given to
        others; they may come back for their spares and what they hold.
    :param twin: returns which other host of the pool leads to the same libvirt, and came first.
    :param events: who wants to know what happens on the hosts.
    :param change_domain: returns the function of ``master.cfg`` that changes domains, if any.
    :param abandoned: called with the name of a host, the record of a VM that served a build whose
        master was killed, and what that VM has used. It is freed then.
    """

    owner: Owner
    machines: dict[str, Machine]
    memory: ProbeMemory
    changed: Callable[[], None]
    reactor: Any
    adopt: Callable[[Host, SlotDomain], bool] = _adopt_nothing
    dead_owners: Callable[[Collection[str]], Awaitable[frozenset[str]]] = _nobody_is_dead
    failed_over_owners: Callable[[Collection[str]], Awaitable[frozenset[str]]] = _nobody_is_dead
    twin: Callable[[Host], Host | None] = lambda _host: None
    events: HostEvents = field(default_factory=NullEvents)
    change_domain: Callable[[], ChangeDomain | None] = lambda: None
    abandoned: Abandoned = _forget


class HostContext(Protocol):
    """The part of :class:`~latent_libvirt.host.host.Host` that is for what runs on it."""

    @property
    def connection(self) -> Connection:
        """The way to its libvirt."""

    @property
    def accelerator(self) -> Accelerator:
        """What decides between KVM and emulation."""

    @property
    def uuid(self) -> str:
        """What libvirt calls the host's UUID."""

    @property
    def architecture(self) -> str:
        """Its own, as `uname -m` names it."""

    @property
    def storage_pool(self) -> str:
        """The name of the storage pool for base images and overlays."""

    @property
    def catalog(self) -> Catalog:
        """The base images there."""

    @property
    def proofs(self) -> Proofs:
        """Which of its images are known to be what was published."""

    @property
    def channels(self) -> WorkerChannels:
        """The channels of its workers."""

    @property
    def network_channels(self) -> WorkerChannels:
        """The channels of what their builds fetch."""

    @property
    def resolver(self) -> Resolver:
        """The way to what they fetch."""

    @property
    def ports(self) -> Ports:
        """What its networks offer to guests."""

    @property
    def saved(self) -> StateKeeper:
        """What VMs can be resumed from there."""

    @property
    def frozen(self) -> FrozenVms:
        """The VMs that are frozen there."""

    @property
    def change_domain(self) -> ChangeDomain | None:
        """What changes the domain of each VM, called with the name of its label."""

    @property
    def slot_hardware(self) -> SlotHardware:
        """Which of its CPUs and devices are for which slot."""

    @property
    def reactor(self) -> Any:
        """Twisted's reactor."""
