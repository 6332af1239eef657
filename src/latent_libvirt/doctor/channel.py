# SPDX-License-Identifier: GPL-2.0-only
"""Check that the worker in a VM reaches its master through a channel, where its label wants that.

The VM gets an identity, and its worker connects to a port of this process that only says what a
master says first. The password is good for nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet import defer
from twisted.internet.protocol import Factory
from twisted.spread.banana import Banana

from latent_libvirt.doctor.finding import fine, warning
from latent_libvirt.errors import ConfigurationError, GuestError
from latent_libvirt.guest.protocol import Identity, MasterChannel, NetworkChannel, new_password
from latent_libvirt.host.proxy.policy import Policy
from latent_libvirt.host.proxy.record import Record

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from latent_libvirt.config.sections.label import LabelConfig
    from latent_libvirt.doctor.finding import Finding
    from latent_libvirt.host.domains.machine import Machine
    from latent_libvirt.pool.timeline import Timeline

_TOO_OLD = "Build and publish its image again: its launcher is too old."


async def check(
    machine: Machine, timeline: Timeline, check: str, label: LabelConfig
) -> list[Finding]:
    """Let the worker of a VM that waits connect; nothing if its label wants no channel.

    :raises LatentLibvirtError: it does not come through.
    """
    if label.connection != "channel":
        return []
    if not machine.guest.has_channel:
        brief = "its launcher knows no channel"
        if label.network.kind == "none":
            raise ConfigurationError(f"{brief}, and the VM has no network", resolution=_TOO_OLD)
        return [warning(check, f"{brief}; its workers connect by TCP", resolution=_TOO_OLD)]
    timeline.enter("channel")
    heard = machine.guest.expect()
    network = _network(machine, label)
    master = MasterChannel(_Factory(heard))
    await machine.assign(Identity("doctor", new_password(), master, label.user, network))
    try:
        await heard.addTimeout(label.attach_timeout, machine.host.reactor)
    except defer.TimeoutError:
        brief = f"nothing of the worker came through its channel in {label.attach_timeout:g} s"
        raise machine.guest.with_console(GuestError(brief)) from None
    more = "" if network is None else ", and its builds fetch through another one"
    return [fine(check, f"its worker comes through a channel{more}")]


def _network(machine: Machine, label: LabelConfig) -> NetworkChannel | None:
    """Return a channel by which nothing can be reached, if the label wants one."""
    if label.network.allow is None:
        return None
    if not machine.guest.has_proxy:
        brief = "its launcher cannot lead builds to what the label allows"
        raise ConfigurationError(brief, resolution=_TOO_OLD)
    return NetworkChannel(Policy("doctor", ()), Record())


class _Factory(Factory):
    """Makes what a worker first hears of a master.

    :param heard: fires when it answers.
    """

    def __init__(self, heard: Deferred[Any]) -> None:
        self._heard = heard

    def buildProtocol(self, _address: object) -> _FirstWords:
        """Return one connection's."""
        return _FirstWords(self._heard)


class _FirstWords(Banana):
    def __init__(self, heard: Deferred[Any]) -> None:
        super().__init__(isClient=False)  # type: ignore[no-untyped-call]
        self._heard = heard

    def dataReceived(self, _chunk: bytes) -> None:  # noqa: N802 - Twisted's
        """Note that the worker is there; no more of it is wanted."""
        if not self._heard.called:
            self._heard.callback(None)
        self.transport.abortConnection()  # type: ignore[union-attr]
