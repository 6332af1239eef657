# SPDX-License-Identifier: GPL-2.0-only
"""XML of a VM on the host that it moves to, and what keeps a VM from moving there.

All functions block, and let libvirt's other errors pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import libvirt
from lxml import etree

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.host.domains import hardware_xml
from latent_libvirt.host.exporting import fitness
from latent_libvirt.host.exporting.portable_xml import OF_ONE_HOST, remove
from latent_libvirt.host.libvirtd.answers import parsed

if TYPE_CHECKING:
    from collections.abc import Callable

_OWN_MODES: Final = ("isolated", "nat", "route", "open")
"""Modes of libvirt's networks that have a bridge which no other host is in."""


def check(target: libvirt.virConnect, xml: str, *, host_cpu: str) -> None:
    """See that the VM of *xml* can go on there.

    :param host_cpu: of the host that the VM was frozen on.
    :raises ConfigurationError: if it cannot.
    """
    domain = parsed(xml, "a frozen VM")
    _check_devices(domain)
    for interface in domain.findall("devices/interface"):
        _check_interface(target, interface)
    fitness.check(target, domain, host_cpu=host_cpu)


def _check_devices(domain: etree._Element) -> None:
    if hardware_xml.pinned_cpus(domain):
        raise ConfigurationError(
            "its vCPUs are pinned to CPUs of its host",
            resolution="Thaw it on its host.",
        )
    if domain.find("devices/hostdev") is not None:
        raise ConfigurationError("it has a device of its host", resolution="Thaw it on its host.")


def _check_interface(target: libvirt.virConnect, interface: etree._Element) -> None:
    kind = interface.get("type")
    if kind == "network":
        source = interface.find("source")
        _check_network(target, "" if source is None else source.get("network", ""))
    elif kind != "user":
        raise _bridged()
    for filter_ in interface.findall("filterref"):
        name = filter_.get("filter", "")
        _found(f"network filter {name!r}", target.nwfilterLookupByName, name)


def _check_network(target: libvirt.virConnect, name: str) -> None:
    network = _found(f"network {name!r}", target.networkLookupByName, name)
    if not network.isActive():
        raise ConfigurationError(
            f"its network {name!r} is not active there", resolution="Start the network."
        )
    forward = parsed(network.XMLDesc(), "a network").find("forward")
    mode = "isolated" if forward is None else forward.get("mode", "nat")
    if mode not in _OWN_MODES:
        raise _bridged()


def _bridged() -> ConfigurationError:
    return ConfigurationError(
        "its network is bridged",
        details="The VM keeps its MAC address, which the next VM in its old slot has as well. Both "
        "would be in one network.",
        resolution="Thaw it on its host.",
    )


def _found(
    what: str, look_up: Callable[[str], libvirt.virNetwork], name: str
) -> libvirt.virNetwork:
    try:
        return look_up(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() not in _MISSING:
            raise
        raise ConfigurationError(
            f"its {what} is not there",
            details=str(error),
            resolution="Define it there as on the host that the VM was frozen on.",
        ) from error


_MISSING: Final = (libvirt.VIR_ERR_NO_NETWORK, libvirt.VIR_ERR_NO_NWFILTER)


def moved_xml(xml: str, files: Mapping[str, str]) -> str:
    """Return the XML of a VM as it is to be on another host.

    What the guest sees stays as it is, and so do the domain's name, UUID and MAC address.

    :param files: paths there, by the paths in *xml*.
    """
    root = etree.fromstring(xml)
    remove(root, OF_ONE_HOST)
    for source in root.findall("devices/interface/source"):
        for attribute in ("portid", "bridge"):
            source.attrib.pop(attribute, None)
    for source in root.findall("devices/disk/source"):
        source.set("file", files[source.get("file", "")])
    for element in (*root.findall("os/kernel"), *root.findall("os/initrd")):
        element.text = files[element.text or ""]
    return etree.tostring(root, encoding="unicode")
