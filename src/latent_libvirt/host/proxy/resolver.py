# SPDX-License-Identifier: GPL-2.0-only
"""Connections to destinations: a name is looked up once, and the addresses found are used.

The master's own resolver looks names up, in few threads that do nothing else. What it finds is
kept for :data:`KEPT` seconds, checked by the policy, and connected to. A second look-up, which
could have another answer, does not happen between the check and the connection.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.protocol import Factory, Protocol

from latent_libvirt.host.libvirtd.call_threads import Calls
from latent_libvirt.host.proxy.policy import usable
from latent_libvirt.timers import passed

if TYPE_CHECKING:
    from latent_libvirt.config import DestinationConfig

KEPT: Final = 60.0
"""Seconds for which the addresses of a name are used."""

LOOK_UP_TIMEOUT: Final = 15.0
CONNECT_TIMEOUT: Final = 10.0
MOST_ADDRESSES: Final = 4
"""Addresses of one name that are tried, one after the other."""

_THREADS: Final = 4


class UnreachableError(Exception):
    """A destination that a guest may reach cannot be reached; the text says why, on one line."""


class Resolver:
    """The way to destinations.

    :param name: of the host whose guests use it, for its threads.
    """

    def __init__(self, name: str, *, reactor: Any) -> None:
        self._name = name
        self._reactor = reactor
        self._calls: Calls | None = None
        self._found: dict[tuple[str, int], tuple[float, Deferred[list[str] | str]]] = {}

    async def connect(self, destination: DestinationConfig, protocol: Protocol) -> str:
        """Connect *protocol* to a destination; return the address that it is connected to.

        :raises RefusedError: the name has an address that is not public.
        :raises UnreachableError: nothing answers there, or the name has no address.
        """
        assert destination.port is not None
        addresses = usable(destination, await self._addresses(destination))
        failure = ""
        for address in addresses[:MOST_ADDRESSES]:
            try:
                await self._endpoint(address, destination.port).connect(_Only(protocol))
            except Exception as error:  # noqa: BLE001 - all that a connection can fail with
                failure = f"{address}: {error}"
            else:
                return address
        what = f"{destination.name}:{destination.port} cannot be reached"
        raise UnreachableError(f"{what}, {failure}")

    def _endpoint(self, address: str, port: int) -> Any:
        kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
        return kind(self._reactor, address, port, timeout=CONNECT_TIMEOUT)

    async def _addresses(self, destination: DestinationConfig) -> list[str]:
        key = (str(destination.name), destination.port or 0)
        since, found = self._found.get(key, (0.0, None))
        if found is None or passed(self._reactor) - since > KEPT:
            found = self._look_up(*key)
            self._found[key] = (passed(self._reactor), found)
        waiting: Deferred[list[str] | str] = Deferred()
        found.addCallback(_tell, waiting)
        try:
            addresses = await waiting.addTimeout(LOOK_UP_TIMEOUT, self._reactor)
        except defer.TimeoutError:
            addresses = f"no answer in {LOOK_UP_TIMEOUT:g} s"
        if isinstance(addresses, str):
            self._found.pop(key, None)
            raise UnreachableError(f"{destination.name} cannot be looked up: {addresses}")
        return addresses

    def _look_up(self, name: str, port: int) -> Deferred[list[str] | str]:
        if self._calls is None:
            self._calls = Calls(f"names for {self._name}", reactor=self._reactor, threads=_THREADS)
            self._calls.start()
        found = self._calls.run(_addresses, name, port)
        return found.addErrback(lambda _failure: "the master is being stopped")

    def stop(self) -> None:
        """Look up no more names."""
        calls, self._calls = self._calls, None
        if calls is not None:
            calls.give_up()


class _Only(Factory):
    """A factory of one protocol."""

    noisy = False

    def __init__(self, made: Protocol) -> None:
        self._made = made

    def buildProtocol(self, _address: object) -> Protocol:
        """Return it."""
        return self._made


def _addresses(name: str, port: int) -> list[str] | str:
    """Return the addresses of *name*, or why there is none. Blocks: call it in a thread."""
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return str(getattr(error, "strerror", None) or error)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _tell(result: Any, waiting: Deferred[Any]) -> Any:
    """Give one that waits the result of a look-up, which others wait for, too."""
    if not waiting.called:
        waiting.callback(result)
    return result
