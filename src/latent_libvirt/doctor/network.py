# SPDX-License-Identifier: GPL-2.0-only
"""Check of a label's network: that it is there, leads to the master and keeps guests apart."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from latent_libvirt.advice import command, listed, page, virsh
from latent_libvirt.doctor.finding import fine, warning
from latent_libvirt.endpoints import speaks_tls
from latent_libvirt.host import inspection
from latent_libvirt.host.domains.vm_spec import Network

if TYPE_CHECKING:
    from latent_libvirt.config.listener import Listener
    from latent_libvirt.config.sections.label import LabelConfig
    from latent_libvirt.doctor.finding import Finding
    from latent_libvirt.doctor.host_under_test import HostUnderTest
    from latent_libvirt.host.inspection import SeenNetwork


def check_name(label: str) -> str:
    """Return what the check is called."""
    return f"network of {label}"


async def check(tested: HostUnderTest, label_name: str, label: LabelConfig) -> list[Finding]:
    """Look at the network of one label.

    :raises ConfigurationError: if it is not there, guests would not find the master, or the filter
        that the label names is not there.
    """
    check = check_name(label_name)
    network = Network.of(label)
    if network.kind == "none":
        return [fine(check, "none; workers come through a channel of their VMs")]
    call = tested.host.connection.call
    seen = await call("examine", f"look at {network}", inspection.look_at_network, network)
    if label.connection == "channel":
        brief = f"{_described(network, seen)}; workers come through a channel of their VMs"
        leads = []
    else:
        address = await tested.host.master_address(
            network, tested.pool.master.address, of_label=label.address
        )
        brief = f"{_described(network, seen)}; guests look for the master at {address}"
        leads = [
            *_out_of_reach(check, label_name, address, tested.listener),
            *_overheard(check, label_name, seen, tested),
        ]
    if seen.known:
        first = fine(check, brief)
    else:
        first = warning(check, brief, details=_UNKNOWN, resolution=_LOOK)
    return [
        first,
        *_reservations(check, network, seen, tested.config.uri),
        *leads,
    ]


def _out_of_reach(
    check: str, label: str, address: str, listener: Listener | None
) -> Iterator[Finding]:
    if listener is None or listener.is_reached_at(address):
        return
    brief = (
        f"guests of {label} look for the master at {address}, and it listens at "
        f"{listener.interface} only ({listener}: {listener.endpoint!r})"
    )
    advice = (
        f"Change line {listener.line} of {listener.file} to listen where guests of all labels come "
        "to (without interface=, behind a firewall), or set the label's address. Stop the master "
        "before and start it afterwards: a reconfig cannot move the port."
    )
    details = "Right only if something else passes connections on from there."
    yield warning(check, brief, details=details, resolution=advice)


def _overheard(
    check: str, label: str, seen: SeenNetwork, tested: HostUnderTest
) -> Iterator[Finding]:
    """Yield that a worker's connection is plain where others may listen."""
    if tested.listener is None or speaks_tls(tested.listener.endpoint):
        return
    if seen.leads_outside or not _is_here(tested.config.uri):
        brief = f"workers of {label} come to their master without TLS, over more than its own host"
        yield warning(check, brief, details=_PLAIN, resolution=_TLS)


def _reservations(check: str, network: Network, seen: SeenNetwork, uri: str) -> Iterator[Finding]:
    """Yield what works, but not as it should."""
    for lack in seen.fitting.lacks:
        yield warning(check, lack, resolution=_LACKS)
    if seen.silence:
        brief = (
            f"{network}: its bridge carries nothing for {seen.silence:g} s to a guest that is new"
        )
        yield warning(check, brief, details=_SILENCE, resolution=_quicker(network, uri))
    if seen.fitting.port.filter is not None and _lacks_ebtables(uri):
        brief = f"{network}: filter {seen.fitting.port.filter!r} needs ebtables, which is not here"
        yield warning(check, brief, details=_NO_EBTABLES, resolution=_INSTALL)


def _described(network: Network, seen: SeenNetwork) -> str:
    if network.kind == "user":
        return "QEMU's user-mode network"
    port = seen.fitting.port
    apart = [*(["isolated ports"] if port.isolated else []), f"filter {port.filter or 'none'}"]
    return f"{network}, {', '.join(apart)}"


def _quicker(network: Network, uri: str) -> str:
    """Return the commands that let a new guest be heard at once, and where to write the same."""
    if network.kind == "network":
        edit, *again = (
            virsh(uri, f"net-{verb}", str(network.source)) for verb in ("edit", "destroy", "start")
        )
        return (
            f"Write <bridge ... stp='off' delay='0'/>:{listed(edit)}\n"
            f"Then, while no VM uses it:{listed(*again)}"
        )
    settings = ("type", "bridge", "stp_state", "0", "forward_delay", "0")
    quick = command("ip", "link", "set", str(network.source), *settings)
    return f"On the host:{listed(quick)}\nThe same belongs where the host makes the bridge."


def _lacks_ebtables(uri: str) -> bool:
    """Whether this machine is the host, and lacks what libvirt's filters are made with."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    return _is_here(uri) and shutil.which("ebtables", path=path) is None


def _is_here(uri: str) -> bool:
    parts = urlsplit(uri)
    return parts.scheme in {"qemu", "qemu+unix"} and not parts.hostname


_PLAIN = "Who listens on that network reads and changes what builds get and say."
_TLS = (
    "Set c['protocols']['pb']['port'] in master.cfg to 'ssl:9989:privateKey=...:certKey=...' "
    f"({page('docs/explanation/security.md')}, TLS for workers), or let only "
    "a network carry it that is yours alone."
)
_UNKNOWN = "libvirt does not know that bridge, or cannot find out on this host."
_LOOK = "See that it is there and up, on the host: ip link show type bridge"
_LACKS = (
    "Give guests that do not trust each other labels with separate networks, or a bridge of "
    "Linux on a host with libvirt's filters (Debian: libvirt-daemon-config-nwfilter, ebtables, "
    "iptables). If that is as you want it: filter: none, in the label, says so."
)
_SILENCE = (
    "Spanning tree or a forward delay is on. The worker of a VM that is resumed cannot connect for "
    "that long, which is often longer than all the rest of its start."
)
_NO_EBTABLES = "libvirt cuts a guest off whose filter it cannot set up."
_INSTALL = "Install ebtables and iptables on the host (Debian: the package iptables has both)."
