# SPDX-License-Identifier: GPL-2.0-only
"""Addresses that a load may be put on: loopback, and those that the profile lists.

A name may lead to another address a moment later. So each connection is checked again, before
anything is sent through it.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import urllib.request
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.plain_text import as_text

_NOT_YOURS = (
    "A load on a machine that is not yours is an attack. If it is yours, list the address in the "
    "profile, as target.addresses."
)


class ForeignAddressError(ConfigurationError):
    """A host has an address that no load may be put on."""


def check(url: str, listed: Collection[str]) -> tuple[str, ...]:
    """Return the addresses of a URL's host, which are loopback or listed.

    :raises ForeignAddressError: one of them is neither.
    :raises ConfigurationError: it has none.
    """
    host = urlsplit(url).hostname or ""
    found = addresses_of(host)
    refused = [address for address in found if not is_allowed(address, listed)]
    if refused:
        raise _refusal(host, ", ".join(refused))
    return tuple(found)


def _refusal(host: str, address: str) -> ForeignAddressError:
    return ForeignAddressError(
        f"no load is put on {as_text(host)}: {address} is neither loopback nor listed in the "
        "profile",
        resolution=_NOT_YOURS,
    )


def is_allowed(address: str, listed: Collection[str]) -> bool:
    """Whether an IP address is loopback, or one of those listed."""
    ip = ipaddress.ip_address(address)
    return ip.is_loopback or any(ip == ipaddress.ip_address(each) for each in listed)


def addresses_of(host: str) -> list[str]:
    """Return the IP addresses of a host.

    :raises ConfigurationError: its name is not known.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(
            f"{as_text(host)} has no address", details=as_text(error)
        ) from None
    return sorted({str(address[0]).partition("%")[0] for *_, address in found})


def handlers(listed: Collection[str]) -> tuple[urllib.request.BaseHandler, ...]:
    """Return what makes ``urllib`` refuse connections to other addresses.

    They raise :exc:`ForeignAddressError`, also for a proxy that the environment names.
    """

    def checked(host: str, connected: socket.socket) -> None:
        address = str(connected.getpeername()[0]).partition("%")[0]
        if not is_allowed(address, listed):
            connected.close()
            raise _refusal(host, address)

    class Plain(http.client.HTTPConnection):
        def connect(self) -> None:
            super().connect()
            checked(self.host, self.sock)

    class Tls(http.client.HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            checked(self.host, self.sock)

    class PlainHandler(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> Any:
            return self.do_open(Plain, req)

    class TlsHandler(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> Any:
            return self.do_open(Tls, req)

    return PlainHandler(), TlsHandler()
