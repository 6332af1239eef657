# SPDX-License-Identifier: GPL-2.0-only
"""The port by which a guest is connected: what keeps it apart from others, where that is possible.

Not every network can isolate ports or filter what they send, and not every host has libvirt's
filters. What is there is asked before each VM is started: a call costs a millisecond, and a network
or filter that has been changed counts at once. All functions block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import libvirt
from twisted.logger import Logger

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.host import inventory
from latent_libvirt.host.domains.domain_xml import Port
from latent_libvirt.host.libvirtd.answers import named, parsed

if TYPE_CHECKING:
    from lxml import etree

    from latent_libvirt.host.domains.vm_spec import Network

log = Logger()

DEFAULT_FILTER = "clean-traffic"
"""libvirt's own filter: a guest sends from its own MAC and IP address, or not at all."""

NO_FILTER = "none"


@dataclass(frozen=True)
class Fitting:
    """The port that a network of a host can give.

    :param lacks: what is left out, and what that means: a sentence for each thing.
    """

    port: Port
    lacks: tuple[str, ...] = ()


class Ports:
    """The ports of one host; says once in the log what they lack."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._told: set[str] = set()

    def port(self, connection: libvirt.virConnect, network: Network) -> Port:
        """Return the port of a guest in *network*.

        :raises ConfigurationError: see :func:`fitting`.
        """
        fitted = fitting(connection, network)
        for lack in fitted.lacks:
            if lack not in self._told:
                self._told.add(lack)
                log.warn("host {host}: {lack}", host=self._host, lack=lack)
        return fitted.port


def fitting(connection: libvirt.virConnect, network: Network) -> Fitting:
    """Return the best port that *network* can give.

    :raises ConfigurationError: if there is no such network, or it cannot have the filter that is
        named for it.
    """
    if network.kind in ("user", "none"):
        return Fitting(Port(isolated=False, filter=None))
    obstacle = _obstacle(connection, network)
    lacks = [] if obstacle is None else [_not_isolated(network, obstacle)]
    name = network.filter or DEFAULT_FILTER
    if name == NO_FILTER:
        return Fitting(Port(isolated=obstacle is None, filter=None), tuple(lacks))
    reason = obstacle or _why_no_filter(connection, name)
    if reason is None:
        return Fitting(Port(isolated=True, filter=name))
    if network.filter is not None:
        raise _cannot_filter(connection, network, reason)
    lacks.append(_not_filtered(network, reason))
    return Fitting(Port(isolated=obstacle is None, filter=None), tuple(lacks))


def _obstacle(connection: libvirt.virConnect, network: Network) -> str | None:
    """Return why guests are not on a bridge of Linux, which can do both; ``None`` if they are."""
    if network.kind == "bridge":
        return None
    name = str(network.source)
    # One message less than to look it up and ask whether it is active.
    active = connection.listAllNetworks(libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE)
    found = dict(named(active)).get(name) or inventory.active_network(connection, name)
    return obstacle_in(parsed(found.XMLDesc(), f"network {name}"))


def obstacle_in(network: etree._Element) -> str | None:
    """Return the same of a libvirt network's XML (libvirt, "Network XML format")."""
    port = network.find("virtualport")
    if port is None:
        port = network.find("portgroup[@default='yes']/virtualport")
    if port is not None:
        return f"it is a switch of type {port.get('type', 'unknown')}"
    forward = network.find("forward")
    mode = None if forward is None else forward.get("mode", "nat")
    if mode == "hostdev":
        return "its guests have network cards of the host"
    has_bridge = network.find("bridge[@name]") is not None
    if mode in _DIRECT or (mode == "bridge" and not has_bridge):
        return "its guests are on the host's network card (macvtap)"
    return None


_DIRECT = ("private", "vepa", "passthrough")


def leads_outside(network: etree._Element) -> bool:
    """Return whether other machines are on a libvirt network, by its XML."""
    forward = network.find("forward")
    return forward is not None and forward.get("mode") in (*_DIRECT, "bridge", "hostdev")


def _why_no_filter(connection: libvirt.virConnect, name: str) -> str | None:
    try:
        connection.nwfilterLookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() in _NO_FILTERS:
            return f"the host's libvirt has no filter {name!r} ({error})"
        raise
    return None


# The last is what a modular libvirt says without its daemon for filters.
_NO_FILTERS = (
    libvirt.VIR_ERR_NO_NWFILTER,
    libvirt.VIR_ERR_NO_SUPPORT,
    libvirt.VIR_ERR_NO_CONNECT,
    libvirt.VIR_ERR_SYSTEM_ERROR,
)


def _not_isolated(network: Network, why: str) -> str:
    return (
        f"{network}: ports cannot be isolated, since {why}: "
        "guests may reach each other there, unless the network itself keeps them apart"
    )


def _not_filtered(network: Network, why: str) -> str:
    return (
        f"{network}: guests are not filtered by {DEFAULT_FILTER!r}, since {why}: "
        "one may pretend to be another, or the master"
    )


def _cannot_filter(
    connection: libvirt.virConnect, network: Network, why: str
) -> ConfigurationError:
    return ConfigurationError(
        f"{network} of {connection.getURI()} cannot have the filter {network.filter!r}: {why}",
        resolution="Name a filter that 'virsh nwfilter-list' shows there (Debian has libvirt's own "
        "in the package libvirt-daemon-config-nwfilter; the host needs ebtables and iptables), or "
        "a network with a bridge of Linux; or set the label's filter to 'none'.",
    )
