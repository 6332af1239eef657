# SPDX-License-Identifier: GPL-2.0-only
"""Frozen VMs of a pool, which have no slots, and of which their hosts know.

A frozen VM has no allocation. libvirt gives a restored domain no other name than its own, so a VM
is thawed in the slot that it had, or in the slot of that number of another host (``thawing/``).
What a host has frozen, the host knows (``host/states/frozen.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latent_libvirt.pool.holding import builds
from latent_libvirt.pool.holding.thawing.moved import where_it_may_run

if TYPE_CHECKING:
    from latent_libvirt.host.host import Host
    from latent_libvirt.host.states.frozen import FrozenVm
    from latent_libvirt.pool.holding.thawing.running_thaws import RunningThaws
    from latent_libvirt.pool.vms import VmRegistry
    from latent_libvirt.status.names import BuildRef


@dataclass(frozen=True)
class Frozen:
    """A frozen VM and where it is."""

    host: Host
    vm: FrozenVm

    @property
    def job(self) -> BuildRef | None:
        """What ran there last, as far as it is known."""
        return builds.read(self.vm.record.build)

    def __str__(self) -> str:
        return f"{self.vm.domain} on host {self.host.name}"


class AllFrozen:
    """The frozen VMs of all hosts of a pool.

    :param hosts: by name; those that are configured.
    """

    def __init__(
        self, registry: VmRegistry, hosts: Mapping[str, Host], thaws: RunningThaws
    ) -> None:
        self._registry = registry
        self._hosts = hosts
        self._thaws = thaws

    def __iter__(self) -> Iterator[Frozen]:
        # What a VM has left on the host that it was frozen on is a VM no more.
        live = self.running()
        for host in self._hosts.values():
            yield from (Frozen(host, vm) for vm in host.frozen if vm.vm_id not in live)

    def running(self) -> set[str]:
        """Return the ids of the VMs that are frozen nowhere, whatever a host has of them."""
        return {vm.vm_id for vm in self._registry} - self._thaws.vm_ids()

    def host(self, name: str) -> Host | None:
        """Return the host of that name, if it is configured."""
        return self._hosts.get(name)

    def others_than(self, own: Host) -> list[Host]:
        """Return the hosts to which VMs of *own* could be copied now; none if it is not usable."""
        others = [host for host in self._hosts.values() if host.name != own.name and host.usable]
        return others if own.usable else []

    def may_run(self, frozen: Frozen) -> tuple[str, str] | None:
        """Return why it may run on another host already, and what to do, or ``None``."""
        return where_it_may_run(frozen.vm, self._hosts.values())

    def end(self) -> None:
        """Let the sweep free all of them."""
        for host in self._hosts.values():
            host.frozen.clear()
