# SPDX-License-Identifier: GPL-2.0-only
"""Way out of an import: the forward proxy, for the package tool of a guest without a network.

The proxy is that of labels with ``allow``. The guest reaches it at an address of its private host,
and it reaches only what the operator allows. All that it fetches is recorded.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.internet.protocol import Factory, Protocol

from latent_libvirt.config.destinations import ready_made_group
from latent_libvirt.config.groups import files_of
from latent_libvirt.errors import ConfigurationError, GuestError
from latent_libvirt.host.proxy.connection import UNSENT, Proxy
from latent_libvirt.host.proxy.policy import Policy
from latent_libvirt.host.proxy.record import Record
from latent_libvirt.host.proxy.resolver import Resolver

if TYPE_CHECKING:
    from latent_libvirt.config import DestinationConfig
    from latent_libvirt.host.proxy.connection import ProxyConnection
    from latent_libvirt.host.proxy.record import Fetch
    from latent_libvirt.images.manifest import Manifest
    from latent_libvirt.images.progress import Reporter

_GROUP: Final = "debian"
_SHOWN: Final = 10
_REFUSED: Final = 403
_PORTS: Final = {"http": 80, "https": 443}


def destinations(allow: Sequence[DestinationConfig]) -> tuple[DestinationConfig, ...]:
    """Return what a guest may reach: what is allowed, and the sources of this machine's apt.

    Their addresses may be private ones. The operator names them, or uses them on this machine.

    :raises ConfigurationError: there is nothing, or a group that this machine does not have.
    """
    found = [*ready_made_group(_GROUP)]
    for item in allow:
        group = [item] if item.group is None else ready_made_group(item.group)
        if not group:
            raise _no_group(str(item.group))
        found += group
    if not found:
        raise ConfigurationError(
            "it is not known where packages are to come from",
            details="apt on this machine has no sources that name a host.",
            resolution="Name the hosts of the guest's sources of packages: --allow NAME:PORT",
        )
    return tuple(each.model_copy(update={"private": True}) for each in found)


def _no_group(group: str) -> ConfigurationError:
    """Return what to say of a group without a host, as one is whose files are not there."""
    name_them = "Name the hosts: --allow NAME:PORT"
    if files := files_of(group):
        return ConfigurationError(
            f"the group {group!r} has no host on this machine",
            details=f"Its hosts are those of URLs in {' or '.join(files)}.",
            resolution=f"{name_them}. Or write their URLs into one of these files.",
        )
    return ConfigurationError(
        f"there is no group {group!r} of hosts",
        details="Groups are debian, pypi and npm, as the tools of this machine have them.",
        resolution=name_them,
    )


class WayOut:
    """The proxy of one import.

    :param allow: see :func:`destinations`.
    :param reporter: hears what is fetched.
    """

    def __init__(self, allow: Sequence[DestinationConfig], reporter: Reporter) -> None:
        self._policy = Policy("import", destinations(allow))
        self._record = Record()
        self._record.begin(reporter.detail)

    @asynccontextmanager
    async def opened(self, path: Path, reactor: Any) -> AsyncIterator[None]:
        """Listen on the Unix socket *path* for the length of a ``with`` block."""
        resolver = Resolver("import", reactor=reactor)
        factory = _Connections(Proxy(self._policy, self._record, resolver, reactor))
        endpoint: Any = UNIXServerEndpoint
        port = await endpoint(reactor, str(path), mode=0o600).listen(factory)
        try:
            yield
        finally:
            await port.stopListening()
            factory.end()
            resolver.stop()

    def fetched(self) -> Manifest:
        """Return what was fetched, by URL, with its digest."""
        return {
            f"fetched {each.target}": f"sha256:{each.sha256}"
            for each in self._record.fetches
            if each.sha256 and not each.why
        }

    def explained(self, error: GuestError) -> GuestError:
        """Return *error* with the fetches that were refused or failed, and what to do."""
        failed = [each for each in self._record.fetches if each.why]
        if not failed:
            return error
        lines = dict.fromkeys(f"{each.method} {each.target}: {each.why}" for each in failed)
        refused = dict.fromkeys(_place(each) for each in failed if each.status == _REFUSED)
        allow = " ".join(f"--allow {place}" for place in [*refused][:_SHOWN])
        return GuestError(
            error.brief,
            details="\n".join(["What the guest did not get:", *[*lines][:_SHOWN]])
            + f"\n{error.details or ''}",
            resolution=f"Allow the hosts of its sources: {allow}" if allow else error.resolution,
        )


def _place(fetch: Fetch) -> str:
    """Return the name and the port that a guest has asked for."""
    if fetch.method == "CONNECT":
        return fetch.target
    parts = urlsplit(fetch.target)
    return f"{parts.hostname}:{parts.port or _PORTS.get(parts.scheme, 80)}"


class _Connections(Factory):
    """The connections of the guest."""

    noisy = False

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self.open: set[_Connection] = set()

    def buildProtocol(self, _address: object) -> Protocol:
        """Return another one."""
        return _Connection(self._proxy, self.open)

    def end(self) -> None:
        """End them all."""
        for each in tuple(self.open):
            each.abort()


class _Connection(Protocol):
    """One connection of the guest: what a ``GuestConnection`` is to the proxy."""

    def __init__(self, proxy: Proxy, others: set[_Connection]) -> None:
        self._proxy = proxy
        self._others = others
        self._incoming = bytearray()
        self._is_held = False
        self._handler: ProxyConnection | None = None

    # What Twisted calls.

    def connectionMade(self) -> None:
        """Begin."""
        self._others.add(self)
        self._transport.registerProducer(self, True)
        near: Any = self
        self._handler = self._proxy.connection(near)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Keep what has come until the proxy reads it, and no more than it should."""
        self._incoming += data
        if self._handler is not None:
            self._handler.has_data()
        if len(self._incoming) > UNSENT:
            self._transport.pauseProducing()

    def connectionLost(self, *_reason: object) -> None:
        """End."""
        self._others.discard(self)
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.lost()

    def pauseProducing(self) -> None:
        """Note that the guest reads more slowly than the destination sends."""
        self._is_held = True

    def resumeProducing(self) -> None:
        """Note that the guest has read."""
        self._is_held = False
        if self._handler is not None:
            self._handler.drained()

    def stopProducing(self) -> None:
        """Do nothing: the connection is lost next."""

    # What the proxy calls.

    @property
    def unsent(self) -> int:
        """More than the proxy lets wait, while the guest does not read."""
        return UNSENT + 1 if self._is_held else 0

    def read(self) -> bytes:
        """Return all that has come."""
        data = bytes(self._incoming)
        self._incoming.clear()
        if len(data) > UNSENT:
            self._transport.resumeProducing()
        return data

    def write(self, data: bytes) -> None:
        """Send *data*."""
        self._transport.write(data)

    def close(self) -> None:
        """End the connection when all is sent."""
        self._transport.unregisterProducer()
        self._transport.loseConnection()

    def abort(self) -> None:
        """End it at once."""
        self._transport.abortConnection()

    @property
    def _transport(self) -> Any:
        return self.transport
