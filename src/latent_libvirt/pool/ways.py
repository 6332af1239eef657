# SPDX-License-Identifier: GPL-2.0-only
"""Ways of a VM's worker to its master: by the guest's network, or through a channel of the VM."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.guest.protocol import MasterAddress, MasterChannel, NetworkChannel
from latent_libvirt.host.proxy.policy import Policy
from latent_libvirt.host.proxy.record import Record

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.host.proxy.file_cache import FileCache
    from latent_libvirt.pool.vm import VM

log = Logger()


@dataclass(frozen=True)
class WorkerPort:
    """The master's port for workers.

    :param factory: of Twisted; makes the master's end of each connection.
    :param address: returns its number, and its certificate in PEM if it speaks TLS; raises a
        ConfigurationError if guests cannot connect to it.
    """

    factory: Any
    address: Callable[[], tuple[int, str | None]]


class Ways:
    """Choice of the way; says once of each image that its launcher is too old for a channel.

    :param cache: of what guests have fetched.
    """

    def __init__(self, cache: FileCache | None) -> None:
        self._cache = cache
        self._told: set[str] = set()

    async def to_master(
        self, vm: VM, port: WorkerPort, config: PoolConfig
    ) -> MasterAddress | MasterChannel:
        """Return the way of the worker in *vm*, which waits.

        :raises LatentLibvirtError: there is none.
        """
        if self._has_channel(vm):
            return MasterChannel(port.factory)
        # The label as it is now: a spare may be older.
        label = config.labels.get(vm.allocation.label, vm.label)
        address = await vm.host.master_address(
            vm.machine.plan.vm.network, config.master.address, of_label=label.address
        )
        return MasterAddress(address, *port.address())

    def network(self, vm: VM, config: PoolConfig) -> NetworkChannel | None:
        """Return what builds in *vm*, which waits, reach through their master; ``None`` if nothing.

        :raises ConfigurationError: its launcher knows no forward proxy.
        """
        name = vm.allocation.label
        label = config.labels.get(name, vm.label)  # as it is now: a spare may be older
        if vm.machine.plan.vm.label.network.allow is None or label.network.allow is None:
            return None
        if not vm.machine.guest.has_proxy:
            raise ConfigurationError(
                f"the launcher in {vm} cannot lead builds to what its label allows",
                details=f"Its image is {vm.machine.image_digest}.",
                resolution="Build and publish the image again, or write `network: none`.",
            )
        vm.fetched = Record()
        policy = Policy(name, config.destinations_of(label))
        return NetworkChannel(policy, vm.fetched, cache=self._cache)

    def _has_channel(self, vm: VM) -> bool:
        label = vm.machine.plan.vm.label
        if label.connection != "channel":
            return False
        if vm.machine.guest.has_channel:
            return True
        if label.network.kind == "none":
            raise _too_old(vm)
        image = vm.machine.image_digest
        if image not in self._told:
            self._told.add(image)
            log.warn(
                "image {image}: its launcher knows no channel; its workers connect by TCP. Build "
                "and publish it again.",
                image=image,
            )
        return False


def _too_old(vm: VM) -> ConfigurationError:
    return ConfigurationError(
        f"the launcher in {vm} knows no channel, and the VM has no network",
        details=f"Its image is {vm.machine.image_digest}.",
        resolution="Build and publish the image again, or give the label a network.",
    )
