# SPDX-License-Identifier: GPL-2.0-only
"""Move of one frozen VM to another host: it is copied, thawed there, and deleted where it was.

Whenever a master is killed, one host has the VM. Until the VM runs on the other host, that one has
a copy, which a sweep frees. From then on the first host has what its sweep frees. The memory on the
first host names the other one before the VM can run there. So no later master thaws the VM on the
first host as long as it cannot ask the other one.
"""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING, Final

import libvirt
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from latent_libvirt.deferreds import in_background
from latent_libvirt.errors import ConfigurationError, HostError, LatentLibvirtError
from latent_libvirt.host.libvirtd.call_threads import Calls
from latent_libvirt.host.states.moving import copying
from latent_libvirt.host.states.moving.copying import End

if TYPE_CHECKING:
    from latent_libvirt.host.domains.machine import Machine
    from latent_libvirt.host.host import Host
    from latent_libvirt.host.states.frozen import FrozenVm

log = Logger()

TIMEOUT: Final = 3600.0
"""Seconds that copying may take. Disks and memory are up to tens of GiB."""


class Move:
    """A move that is under way, from :meth:`run` on.

    :param source: the host that has the VM frozen.
    :param target: the host that thaws it.
    """

    def __init__(self, frozen: FrozenVm, source: Host, target: Host) -> None:
        self._frozen = frozen
        self._source = source
        self._target = target
        self._given_up = Event()
        self._copied: Deferred[None] = Deferred()

    async def run(self, machine: Machine) -> None:
        """Let the VM go on as *machine*, of the other host.

        :raises ConfigurationError: if it cannot go on there. Nothing was copied.
        :raises LatentLibvirtError: if it stays frozen where it was, or nobody knows but the hosts.
        """
        # The first host may leave the configuration at any moment.
        with self._source.live.in_use():
            await self._run(machine)
            what = f"host {self._source.name}: frozen VM {self._frozen.domain}"
            in_background(self._delete(), what)

    async def _run(self, machine: Machine) -> None:
        hosts, vm_id = (self._source, self._target), self._frozen.vm_id
        for host in hosts:
            host.frozen.busy.add(vm_id)
        try:
            copied = await self._copy()
            # Before it runs: whatever happens then, nobody thaws it here without asking there.
            await self._source.freezing.mark_moved(self._frozen, self._target)
            await self._target.freezing.thaw(machine, copied)
            self._source.frozen.remove(vm_id)
        except LatentLibvirtError as error:
            raise self._named(error) from error
        finally:
            for host in hosts:
                host.frozen.busy.discard(vm_id)

    async def give_up(self) -> None:
        """End the copying, if it is under way; return when it has ended."""
        self._given_up.set()
        if not self._copied.called:
            waiting: Deferred[None] = Deferred()
            self._copied.addBoth(lambda _: waiting.callback(None))
            await waiting

    async def _copy(self) -> FrozenVm:
        calls = Calls(f"copy to {self._target.name}", reactor=self._target.reactor, threads=1)
        calls.start()
        ends = (_end(self._source), _end(self._target))
        copied = calls.run(copying.copy, self._frozen, *ends, self._given_up)
        copied.addTimeout(TIMEOUT, self._target.reactor)
        try:
            return await copied
        except libvirt.libvirtError as error:
            raise HostError("it could not be copied", details=str(error)) from error
        except defer.TimeoutError as error:
            raise HostError(f"it was not copied in {TIMEOUT:g} s") from error
        finally:
            self._given_up.set()
            calls.give_up()
            self._copied.callback(None)

    def _named(self, error: LatentLibvirtError) -> LatentLibvirtError:
        kind = ConfigurationError if isinstance(error, ConfigurationError) else HostError
        vm, source, target = self._frozen, self._source.name, self._target.name
        return kind(
            f"VM {vm.domain} (id {vm.vm_id}), frozen on host {source}, cannot be thawed on host "
            f"{target}: {error.brief}",
            details=error.details,
            resolution=error.resolution,
        )

    async def _delete(self) -> None:
        with self._source.live.in_use():
            try:
                await self._source.freezing.delete(self._frozen)
            except LatentLibvirtError as error:
                log.warn("{error}; the sweep will free it", error=str(error))


def _end(host: Host) -> End:
    return End(host.connection.another, host.storage_pool)
