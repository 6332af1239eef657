# SPDX-License-Identifier: GPL-2.0-only
"""The time for which a bridge carries nothing to and from a port that is new.

A bridge with spanning tree listens and learns for its forward delay each, two seconds at least
(Linux, ``br_stp.c``); one with a delay and no spanning tree only learns. All functions block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import libvirt

from latent_libvirt.host.libvirtd.answers import parsed

if TYPE_CHECKING:
    from lxml import etree

    from latent_libvirt.host.domains.vm_spec import Network

LEAST_DELAY = 2.0
"""Seconds: Linux takes no shorter one where spanning tree is on."""


MOST_DELAY = 255.0
"""Seconds: what is longer, or no number, is no delay of a bridge's."""


def silence(connection: libvirt.virConnect, network: Network) -> float:
    """Return for how many seconds a guest in *network* is not heard, as far as libvirt knows."""
    if network.kind == "bridge":
        return _of_interface(connection, str(network.source))
    if network.kind == "user":
        return 0.0
    xml = connection.networkLookupByName(network.source).XMLDesc()
    root = parsed(xml, f"network {network.source}")
    bridge = root.find("bridge[@name]")
    if bridge is None:
        return 0.0
    if bridge.get("stp") is None:  # then libvirt does not manage it
        return _of_interface(connection, str(bridge.get("name")))
    return silence_of(bridge)


def _of_interface(connection: libvirt.virConnect, name: str) -> float:
    try:
        xml = connection.interfaceLookupByName(name).XMLDesc()
    except libvirt.libvirtError:
        if not connection.isAlive():
            raise
        return 0.0  # unknown, or without a driver for interfaces
    bridge = parsed(xml, f"interface {name}").find("bridge")
    return 0.0 if bridge is None else silence_of(bridge)


def silence_of(bridge: etree._Element) -> float:
    """Return the same of a ``bridge`` element of a network's or an interface's XML."""
    try:
        delay = float(bridge.get("delay", "0"))
    except ValueError:
        delay = 0.0
    if not 0.0 <= delay <= MOST_DELAY:
        delay = 0.0
    return 2 * max(delay, LEAST_DELAY) if bridge.get("stp") == "on" else delay
