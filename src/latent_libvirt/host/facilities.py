# SPDX-License-Identifier: GPL-2.0-only
"""What a machine, and a probe of KVM, need of the host that they run on."""

from __future__ import annotations

from typing import Any, Protocol

from latent_libvirt.host.accelerator import Accelerator
from latent_libvirt.host.connection import Connection
from latent_libvirt.host.ports import Ports
from latent_libvirt.host.state_keeper import StateKeeper


class HostFacilities(Protocol):
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
    def storage_pool(self) -> str:
        """The name of the storage pool for base images and overlays."""

    @property
    def ports(self) -> Ports:
        """What its networks offer to guests."""

    @property
    def sealed(self) -> StateKeeper:
        """What VMs can be resumed from there."""

    @property
    def reactor(self) -> Any:
        """Twisted's reactor."""
