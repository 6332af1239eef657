# SPDX-License-Identifier: GPL-2.0-only
"""Checks whether each label's network is there, and its guests know where the master is."""

from __future__ import annotations

import libvirt

from latent_libvirt.config import LabelConfig
from latent_libvirt.doctor.finding import Finding, fine, warning
from latent_libvirt.doctor.patient import Patient, network_of
from latent_libvirt.host import inventory
from latent_libvirt.host.domain_xml import Network


def check_name(label: str) -> str:
    """Return what the check is called."""
    return f"network of {label}"


async def check(patient: Patient, label_name: str, label: LabelConfig) -> list[Finding]:
    """Look at the network of one label.

    :raises ConfigurationError: if it is not there, or guests would not find the master.
    """
    check = check_name(label_name)
    network = network_of(label)
    call = patient.host.connection.call
    known = await call("examine", f"look at {network.kind} {network.source}", _is_there, network)
    address = await patient.host.master_address(network, patient.pool.master.address)
    brief = f"{_described(network)}; guests look for the master at {address}"
    if not known:
        return [warning(check, brief, details=_UNKNOWN, resolution=_LOOK)]
    return [fine(check, brief)]


def _described(network: Network) -> str:
    if network.kind == "user":
        return "QEMU's user-mode network"
    return f"{network.kind} {network.source}"


def _is_there(connection: libvirt.virConnect, network: Network) -> bool:
    """Return whether it is known to be there.

    :raises ConfigurationError: if it is known not to be.
    """
    if network.kind == "network":
        inventory.active_network(connection, str(network.source))
    if network.kind == "bridge":
        return inventory.has_interface(connection, str(network.source))
    return True


_UNKNOWN = "libvirt does not know that bridge, or cannot tell on this host."
_LOOK = "See that it is there and up, on the host: ip link show type bridge"
