# SPDX-License-Identifier: GPL-2.0-only
"""Events of a pool, for those who count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from latent_libvirt.host import events
from latent_libvirt.host.events import HostEvents

if TYPE_CHECKING:
    from latent_libvirt.errors import LatentLibvirtError
    from latent_libvirt.pool.lease import LeaseReport
    from latent_libvirt.pool.room.allocations import Allocation


class VmEvents(Protocol):
    """Who wants to know what becomes of VMs.

    :param phases: (of each method that has it) seconds of those that are over.
    """

    def vm_started(self, allocation: Allocation) -> None:
        """Note that a VM begins to start."""

    def vm_is_up(self, allocation: Allocation, phases: Mapping[str, float]) -> None:
        """Note that a VM waits for an identity."""

    def vm_failed(self, allocation: Allocation, error: LatentLibvirtError) -> None:
        """Note that a VM did not come up as it should."""

    def vm_ended(self, allocation: Allocation, phases: Mapping[str, float]) -> None:
        """Note that nothing is left of a VM."""

    def trial_ended(self, *, image: str, accepted: bool) -> None:
        """Note that the new version of an image is used by all VMs from now on, or by none."""


class PoolEvents(VmEvents, HostEvents, Protocol):
    """Who wants to know what becomes of VMs, hosts and builds."""

    def lease_began(self, report: LeaseReport, *, seconds: float) -> None:
        """Note that the worker of a build has attached.

        :param seconds: since the build was given its first VM.
        """

    def failed(self, error: Exception, *, host: str = "") -> None:
        """Note that a VM has failed, or could not be started.

        :param host: where, or nothing if that had not been decided yet.
        """

    def spare_asked_for(self, *, label: str, was_ready: bool) -> None:
        """Note that a build of a label with spares wants one."""


class NullEvents(events.NullEvents):
    """Does nothing with any of it."""

    def vm_started(self, allocation: Allocation) -> None:
        """Do nothing."""

    def vm_is_up(self, allocation: Allocation, phases: Mapping[str, float]) -> None:
        """Do nothing."""

    def vm_failed(self, allocation: Allocation, error: LatentLibvirtError) -> None:
        """Do nothing."""

    def vm_ended(self, allocation: Allocation, phases: Mapping[str, float]) -> None:
        """Do nothing."""

    def trial_ended(self, *, image: str, accepted: bool) -> None:
        """Do nothing."""

    def lease_began(self, report: LeaseReport, *, seconds: float) -> None:
        """Do nothing."""

    def failed(self, error: Exception, *, host: str = "") -> None:
        """Do nothing."""

    def spare_asked_for(self, *, label: str, was_ready: bool) -> None:
        """Do nothing."""
