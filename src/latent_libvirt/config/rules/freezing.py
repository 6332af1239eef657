# SPDX-License-Identifier: GPL-2.0-only
"""Keys of VMs that stay after a failure: what can be held, frozen and exported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from latent_libvirt.config.faults import fault
from latent_libvirt.config.fields.sizes import DEFAULT_MEMORY, DEFAULT_SAVED_STATE_SPACE
from latent_libvirt.config.rules.plain_values import (
    hosts_of,
    is_name,
    section,
    size_in_bytes,
)
from latent_libvirt.config.units import format_size

if TYPE_CHECKING:
    from latent_libvirt.config.rules.plain_values import (
        Fault,
    )


def of_label(name: str, label: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what does not agree with what happens to VMs of label *name* after a failure."""
    yield from _freezes_nothing(name, label)
    yield from _no_space_to_freeze(name, label, section(config, "hosts"))
    yield from _exports_nothing(name, label)


def _freezes_nothing(name: str, label: Mapping[str, Any]) -> Iterator[Fault]:
    """Find labels whose VMs are to be frozen, and are not held."""
    if label.get("freeze") is True and label.get("hold_on_failure") is None:
        what = "no VM of the label is held, so none can be frozen"
        yield ("labels", name, "freeze"), fault(what, "add `hold_on_failure`, such as 24h")


def _no_space_to_freeze(
    name: str, label: Mapping[str, Any], hosts: Mapping[str, Any]
) -> Iterator[Fault]:
    """Find labels whose VMs have more memory than any of their hosts keeps for frozen ones."""
    given = label.get("memory", format_size(DEFAULT_MEMORY))
    least = size_in_bytes(given.get("min") if isinstance(given, Mapping) else given)
    names = [host for host in hosts_of(label, hosts) if is_name(host)]
    spaces = [size_in_bytes(_frozen_space(hosts.get(host))) for host in names]
    if label.get("freeze") is not True or least is None or not spaces:
        return
    if all(space is not None and space < least for space in spaces):
        what = f"a VM with {format_size(least)} of memory cannot be frozen on any of its hosts"
        remedy = "raise their `frozen_space`, or remove `freeze`: VMs are held in their slots"
        yield ("labels", name, "freeze"), fault(what, remedy, beside=["memory", "hosts"])


def _frozen_space(host: object) -> object:
    usual = format_size(DEFAULT_SAVED_STATE_SPACE)
    return host.get("frozen_space", usual) if isinstance(host, Mapping) else None


def _exports_nothing(name: str, label: Mapping[str, Any]) -> Iterator[Fault]:
    """Find labels whose VMs may be exported, and are never frozen."""
    if label.get("export") is True and label.get("freeze") is not True:
        what = "no VM of the label is frozen, so none can be exported"
        yield ("labels", name, "export"), fault(what, "add `freeze: true` and `hold_on_failure`")
