# SPDX-License-Identifier: GPL-2.0-only
"""Addresses: of hosts' libvirt, of the master, and of what it serves."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated
from urllib.parse import SplitResult, parse_qs, urlsplit

from pydantic import (
    AfterValidator,
    Strict,
)

from latent_libvirt.config.faults import fault
from latent_libvirt.config.fields.base import Written, text_schema
from latent_libvirt.config.suggestions import suggestion
from latent_libvirt.config.text import quoted

LARGEST_PORT = 65535
_HOST_NAME = r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,62})(\.[A-Za-z0-9]([A-Za-z0-9-]{0,62}))*\.?"
_NUMBER_AT_THE_END = r"(.*\.)?[0-9]+\.?"
"""What resolvers read as an IPv4 address, and refuse or misread: 256.1.1.1 or 10.1."""

_BROADCAST = ipaddress.IPv4Address("255.255.255.255")
_TRANSPORTS = ("unix", "ssh", "libssh", "libssh2", "tls", "tcp", "ext")
_URI_PATHS = ("/system", "/session")
_IP_AND_PORT_EXAMPLE = "for example 127.0.0.1:9177, or '[::1]:9177' in quotes"
_URI_EXAMPLE = "for example qemu:///system or qemu+ssh://user@host/system"


def _uri(text: str) -> str:
    """Accept what this package can drive: QEMU, and libvirt's own test driver.

    The form is that of libvirt's "Connection URIs": ``driver[+transport]://[user@][host]/path``.
    """
    parts = _split_uri(text)
    driver, plus, transport = parts.scheme.partition("+")
    if driver == "test":
        return text
    if driver != "qemu" or not re.match(r"[a-z0-9+]+://", text):
        what = f"{quoted(text)} has no driver that can be used here"
        raise fault(what, f"use qemu, {_URI_EXAMPLE}")
    if plus and transport not in _TRANSPORTS:
        what = f"{quoted(transport)} is not a transport of libvirt"
        raise fault(what, suggestion(transport, _TRANSPORTS, kind="transports"))
    if parts.path not in _URI_PATHS:
        what = f"the path {quoted(parts.path)} of {quoted(text)} is none of QEMU's"
        raise fault(what, f"end it with /system (or /session), {_URI_EXAMPLE}")
    _refuse_unprotected(parts, transport)
    return text


def _refuse_unprotected(parts: SplitResult, transport: str) -> None:
    """Refuse what lets anybody on the network read and change what goes to the host.

    To this machine itself it may be: at the other end there may be a tunnel.
    """
    if is_loopback(parts.hostname or ""):
        return
    if transport == "tcp":
        raise fault(
            "qemu+tcp:// is neither encrypted nor authenticated: who can listen is root there",
            "use qemu+ssh:// or qemu+tls://",
        )
    unverified = [value for value in parse_qs(parts.query).get("no_verify", []) if value != "0"]
    if unverified:
        raise fault(
            "with no_verify, anybody may pose as the host",
            "remove it, and make the host's key or certificate known",
        )


def is_loopback(host: str) -> bool:
    """Whether *host*, a name or an IP address, is that of the machine that looks it up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _split_uri(text: str) -> SplitResult:
    if not text.isascii() or not text.isprintable() or " " in text or not text:
        raise fault(f"{quoted(text)} is not a libvirt URI", f"write one, {_URI_EXAMPLE}")
    try:
        parts = urlsplit(text)
        _ = parts.port  # checked when asked for
    except ValueError as error:
        raise fault(f"{quoted(text)} is not a URI: {error}", f"write one, {_URI_EXAMPLE}") from None
    return parts


def _address(text: str) -> str:
    """Accept where a guest can connect to: a name, or an IP address that is one machine's."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        if not re.fullmatch(_HOST_NAME, text) or re.fullmatch(_NUMBER_AT_THE_END, text):
            raise fault(
                f"{quoted(text)} is neither a host name nor an IP address",
                "write only that, without a port: the worker port is known",
            ) from None
    else:
        _refuse_unreachable(address, text)
    return text


def _refuse_unreachable(address: ipaddress.IPv4Address | ipaddress.IPv6Address, text: str) -> None:
    if getattr(address, "scope_id", None) is not None:
        raise fault(
            f"{quoted(text)} has a zone, which means something else in each guest",
            "write an address without '%', or a host name",
        )
    if address.is_unspecified or address.is_multicast or address == _BROADCAST:
        raise fault(
            f"{quoted(text)} is no address of one machine",
            "write the master's own, as guests reach it",
        )


def _ip_and_port(text: str) -> str:
    host, _, port = text.rpartition(":")
    address = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not _is_one_machines(address, v6=address != host):
        what = f"{quoted(text)} does not begin with an IP address of this machine"
        raise fault(what, f"write it so, {_IP_AND_PORT_EXAMPLE}")
    if not re.fullmatch(r"[1-9][0-9]{0,4}", port) or int(port) > LARGEST_PORT:
        raise fault(f"{quoted(text)} does not end with a port", f"add it, {_IP_AND_PORT_EXAMPLE}")
    return text


def _is_one_machines(address: str, *, v6: bool) -> bool:
    """Whether it is an IP address that a machine can listen at, or all of its addresses."""
    try:
        ip = ipaddress.IPv6Address(address) if v6 else ipaddress.IPv4Address(address)
    except ValueError:
        return False
    return not ip.is_multicast and ip != _BROADCAST and "%" not in address


Uri = Annotated[
    str,
    Strict(),
    AfterValidator(_uri),
    text_schema(pattern=r"^(qemu|test)(\+[a-z0-9]+)?://"),
    Written("libvirt URI"),
]

Address = Annotated[
    str,
    Strict(),
    AfterValidator(_address),
    text_schema(minLength=1),
    Written("host name or IP address"),
]

IpAndPort = Annotated[
    str,
    Strict(),
    AfterValidator(_ip_and_port),
    text_schema(pattern=r":[0-9]+$"),
    Written("IP address and port"),
]
