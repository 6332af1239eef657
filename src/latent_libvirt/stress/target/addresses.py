# SPDX-License-Identifier: GPL-2.0-only
"""Addresses that a load may be put on: loopback, and those that the profile lists."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection
from urllib.parse import urlsplit

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.plain_text import as_text

_NOT_YOURS = (
    "A load on a machine that is not yours is an attack. If it is yours, list the address in the "
    "profile, as target.addresses."
)


def check(url: str, listed: Collection[str]) -> None:
    """Refuse a URL whose host has an address that is neither loopback nor listed.

    :raises ConfigurationError: it has, or it has none.
    """
    host = urlsplit(url).hostname or ""
    refused = [address for address in addresses_of(host) if not is_allowed(address, listed)]
    if refused:
        raise ConfigurationError(
            f"no load is put on {as_text(host)}: {', '.join(refused)} is neither loopback nor "
            "listed in the profile",
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
