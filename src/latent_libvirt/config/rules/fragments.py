# SPDX-License-Identifier: GPL-2.0-only
"""Fragments of a domain's XML against the keys that make the rest of the domain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from latent_libvirt.config.domain_fragment import (
    disks_in,
    has_command_line,
    has_network_card,
    is_below,
    memory_in,
    paths_in,
)
from latent_libvirt.config.faults import fault
from latent_libvirt.config.fields.sizes import DEFAULT_MEMORY
from latent_libvirt.config.hardware.disk_names import targets
from latent_libvirt.config.rules.plain_values import allow_of, section, size_in_bytes
from latent_libvirt.config.text import quoted

if TYPE_CHECKING:
    from latent_libvirt.config.rules.plain_values import Fault


def of_label(name: str, label: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what does not agree with the ``domain_xml`` of label *name*."""
    yield from _network_by_fragment(name, label)
    yield from _disk_by_fragment(name, label)
    yield from _memory_by_fragment(name, label)
    yield from _path_by_fragment(name, label, section(config, "master"))


def _network_by_fragment(name: str, label: Mapping[str, Any]) -> Iterator[Fault]:
    """Find network cards of guests that are to have none."""
    given = label.get("domain_xml")
    has_none = label.get("network") == "none" or allow_of(label) is not None
    if has_none and isinstance(given, str) and has_network_card(given):
        remedy = "remove it, or give the label a network"
        what = "a label without a network has a network card here"
        yield ("labels", name, "domain_xml"), fault(what, remedy, beside=["network"])


def _disk_by_fragment(name: str, label: Mapping[str, Any]) -> Iterator[Fault]:
    """Find disks of a fragment that have the names of the label's `disks`."""
    given, taken = label.get("domain_xml"), targets(label.get("disks"))
    for found in disks_in(given) if isinstance(given, str) else ():
        if found in taken:
            what = f"the disk {quoted(found)} is one of the label's `disks`"
            remedy = f"name another target, after {taken[-1]}"
            yield ("labels", name, "domain_xml"), fault(what, remedy, beside=["disks"])


def _memory_by_fragment(name: str, label: Mapping[str, Any]) -> Iterator[Fault]:
    """Find NUMA cells that give a VM other memory than its label, by which the pool counts."""
    text, given = label.get("domain_xml"), label.get("memory")
    cells = memory_in(text) if isinstance(text, str) else None
    memory = size_in_bytes(given) if "memory" in label else DEFAULT_MEMORY
    if cells is not None and cells != memory:
        what = "the NUMA cells do not have the label's `memory`, all together"
        remedy = "let their `memory` add up to that, in KiB, MiB or GiB"
        yield ("labels", name, "domain_xml"), fault(what, remedy, beside=["memory"])


def _path_by_fragment(
    name: str, label: Mapping[str, Any], master: Mapping[str, Any]
) -> Iterator[Fault]:
    """Find paths of a fragment that the configuration does not allow."""
    text, given = label.get("domain_xml"), master.get("domain_xml_paths")
    allowed = [each for each in given if isinstance(each, str)] if isinstance(given, list) else []
    if (
        isinstance(text, str)
        and has_command_line(text)
        and not any(is_below("/", a) for a in allowed)
    ):
        what = "QEMU's own arguments can name paths in ways that are not seen here"
        remedy = "remove <qemu:commandline>, or allow all paths by `domain_xml_paths: [/]`"
        yield ("labels", name, "domain_xml"), fault(what, remedy)
    for path in paths_in(text) if isinstance(text, str) else ():
        if not any(is_below(path, each) for each in allowed):
            what = f"the path {quoted(path)} is not allowed"
            remedy = "add its directory to `domain_xml_paths` of the master, or remove it"
            yield ("labels", name, "domain_xml"), fault(what, remedy)
