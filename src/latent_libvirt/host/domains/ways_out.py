# SPDX-License-Identifier: GPL-2.0-only
"""Ways out of one VM: the worker's to its master, and that of builds to the forward proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from latent_libvirt.deferreds import Outcome
from latent_libvirt.errors import GuestError
from latent_libvirt.guest.protocol import MasterAddress
from latent_libvirt.host.channels.network_link import NetworkLink
from latent_libvirt.host.channels.worker_link import WorkerLink
from latent_libvirt.host.domains.steps import given_up
from latent_libvirt.host.proxy.connection import Proxy

if TYPE_CHECKING:
    from latent_libvirt.guest.protocol import Identity, MasterChannel, NetworkChannel
    from latent_libvirt.host.channels.worker_channels import Line
    from latent_libvirt.host.context import HostContext
    from latent_libvirt.host.domains.domain_calls import DomainCalls
    from latent_libvirt.host.guests.guest import Guest

_TOO_OLD = (
    "Build and publish its image again: its launcher is older than TLS. Until then the port for "
    "workers (c['protocols']['pb']['port'] in master.cfg) has to be plain TCP."
)


class WaysOut:
    """The ways that an identity opens.

    :param calls: of the VM.
    """

    def __init__(self, host: HostContext, calls: DomainCalls) -> None:
        self._host = host
        self._calls = calls
        self._lines: list[Line] = []
        self._is_ending = False
        self.connection: Literal["channel", "tcp", ""] = ""
        """How the worker comes to the master; empty until it has an identity."""

    async def open(self, identity: Identity, guest: Guest) -> str:
        """Open what *identity* needs; return what to look at if the worker does not come.

        Both ways are opened side by side. The host may be far away, and each takes round trips.

        :raises GuestError: if the guest's launcher cannot use it, or the VM has been given up.
        """
        network = Outcome(self._open_network(identity.network))
        advice = await self._open_to_master(identity.master, guest)
        await network.wait()
        return advice

    async def _open_to_master(self, master: MasterAddress | MasterChannel, guest: Guest) -> str:
        if isinstance(master, MasterAddress):
            self.connection = "tcp"
            if master.certificate is not None and not guest.can_speak_tls:
                brief = f"the launcher in VM {self._calls.name} speaks no TLS"
                raise GuestError(brief, resolution=_TOO_OLD)
            return f"Check that guests reach {master.host} port {master.port}."
        self.connection = "channel"
        link = WorkerLink(str(self), master.session, master.factory, reactor=self._host.reactor)
        self._keep(await self._host.channels.line(link, self._calls.find))
        return "Its launcher did not open the worker's channel: build its image again."

    async def _open_network(self, network: NetworkChannel | None) -> None:
        """Let builds reach the forward proxy, if they may reach anything."""
        if network is None:
            return
        host = self._host
        proxy = Proxy(
            network.policy, network.record, host.resolver, host.reactor, cache=network.cache
        )
        link = NetworkLink(str(self), network.session, proxy.connection, reactor=host.reactor)
        self._keep(await host.network_channels.line(link, self._calls.find))

    def __str__(self) -> str:
        return f"VM {self._calls.name} on host {self._host.connection.host}"

    def _keep(self, line: Line) -> None:
        self._lines.append(line)
        if self._is_ending:
            self.close()
            raise given_up(self._calls.name)

    def end(self) -> None:
        """Open no other: one that is being opened is closed as soon as it is open."""
        self._is_ending = True

    def close(self) -> None:
        """Close those that are open."""
        while self._lines:
            self._lines.pop().close()
