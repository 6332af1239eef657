# SPDX-License-Identifier: GPL-2.0-only
"""The policy of one guest: which names, ports and addresses it may reach, and why not others.

Plain logic. Names are compared before they are looked up, so a guest cannot make the master ask
DNS about a name that no operator has listed. The addresses of a name are looked at once, and the
connection goes to one of those.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from latent_libvirt.config.groups import is_address

if TYPE_CHECKING:
    from latent_libvirt.config import DestinationConfig

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""Addresses of IPv4 hosts for machines that have IPv6 alone (RFC 6052)."""

_UNICAST = ipaddress.IPv6Network("2000::/3")
"""All that is routed on the internet has an address in it (RFC 4291)."""

_NOT_PUBLIC = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20")))
"""Special addresses that Python's ``is_global`` of some versions takes for public ones."""

_LONGEST_SHOWN = 100


class RefusedError(Exception):
    """A guest may not reach what it asks for; the text says why, on one line.

    :ivar lacks_private: whether ``private: true`` of the destination would allow it.
    """

    def __init__(self, why: str, *, lacks_private: bool = False) -> None:
        super().__init__(why)
        self.lacks_private = lacks_private


class Policy:
    """What guests of a label may reach.

    :param label: its name, for messages.
    """

    def __init__(self, label: str, destinations: Iterable[DestinationConfig]) -> None:
        self._label = label
        self._by_place = {(d.name, d.port): d for d in destinations}
        self._names = {d.name for d in self._by_place.values()}

    def destination(self, name: str, port: int) -> DestinationConfig:
        """Return the destination that the label lists for a name and a port.

        :raises RefusedError: it lists none.
        """
        host = name.lower().removesuffix(".")
        found = self._by_place.get((host, port))
        if found is not None:
            return found
        shown = f"{_shown(host)}:{port}"
        if is_address(host):
            raise RefusedError(f"{shown} is an IP address, and label {self._label} allows names")
        if host in self._names:
            ports = sorted(d.port for d in self._by_place.values() if d.name == host if d.port)
            allowed = ", ".join(map(str, ports))
            raise RefusedError(f"label {self._label} allows {_shown(host)} at port {allowed} only")
        raise RefusedError(f"label {self._label} does not allow {shown}")


def usable(destination: DestinationConfig, addresses: Sequence[str]) -> list[str]:
    """Return the addresses of a destination that a connection may go to.

    :raises RefusedError: one of them is not public, or there is none.
    """
    if not addresses:
        raise RefusedError(f"{destination.name} has no address")
    for address in addresses:
        if not is_usable(address, private=destination.private):
            what = f"{destination.name} has the address {address}, which is not public"
            if is_usable(address, private=True):
                remedy = "an operator can allow it with private: true"
                raise RefusedError(f"{what}; {remedy}", lacks_private=True)
            raise RefusedError(f"{what}; no key allows an address of this kind")
    return list(addresses)


def is_usable(address: str, *, private: bool) -> bool:
    """Whether a connection may go to *address*.

    :param private: whether it may be one of a private network or of this machine.
    """
    found = _inner(ipaddress.ip_address(address))
    if found.is_multicast or found.is_unspecified or found.is_link_local:
        return False
    if private:
        return found.is_loopback or not found.is_reserved
    if isinstance(found, ipaddress.IPv6Address) and found not in _UNICAST:
        return False
    special = any(found in network for network in _NOT_PUBLIC)
    return found.is_global and not (found.is_reserved or special)


def _inner(address: _Address) -> _Address:
    """Return the IPv4 address that a packet to *address* ends up at, if there is one in it."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    inner = [address.ipv4_mapped, address.sixtofour, (address.teredo or (None, None))[1]]
    return next((found for found in inner if found is not None), address)


def _shown(name: str) -> str:
    """Return a name that a guest has sent, fit for a line."""
    text = "".join(c if c.isascii() and c.isprintable() else "?" for c in name)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
