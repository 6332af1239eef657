# SPDX-License-Identifier: GPL-2.0-only
"""Counts of VMs against the most that a label may have, and names of their workers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from latent_libvirt.config.faults import KEY, fault
from latent_libvirt.config.fields.names import LONGEST_WORKER_NAME
from latent_libvirt.config.rules.plain_values import is_name, section, some, whole_number
from latent_libvirt.config.text import quoted

if TYPE_CHECKING:
    from latent_libvirt.config.rules.plain_values import Fault


def of_label(name: str, label: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what does not agree with the counts of VMs of label *name*."""
    yield from _too_many_spares(name, label, config)
    yield from _all_for_children(name, label, config)
    yield from _long_worker_name(name, label, config)


def _too_many_spares(
    name: str, label: Mapping[str, Any], config: Mapping[str, Any]
) -> Iterator[Fault]:
    """Find a label that would never have as many spares as it asks for."""
    cap = whole_number(label.get("max_vms", section(config, "master").get("max_vms")))
    for path, spares in _spare_counts(label.get("spares")):
        count = whole_number(spares)
        if cap is not None and count is not None and count > cap:
            verb = "is" if count == 1 else "are"
            most = some(cap, "VM")
            what = f"{some(count, 'spare')} {verb} more than the {most} that the label may have"
            remedy = "raise max_vms, or lower it"
            yield ("labels", name, "spares", *path), fault(what, remedy, beside=["max_vms"])


def _spare_counts(spares: object) -> Iterator[tuple[tuple[str | int, ...], object]]:
    if not isinstance(spares, Mapping):
        yield (), spares
        return
    yield ("count",), spares.get("count")
    periods = spares.get("periods")
    for index, period in enumerate(periods if isinstance(periods, list | tuple) else ()):
        if isinstance(period, Mapping):
            yield ("periods", index, "count"), period.get("count")


def _all_for_children(
    name: str, label: Mapping[str, Any], config: Mapping[str, Any]
) -> Iterator[Fault]:
    """Find a label that keeps so much for children that no build could have any."""
    kept = whole_number(label.get("reserve_for_children"))
    master = section(config, "master").get("max_vms")
    caps = [
        cap for cap in (whole_number(label.get("max_vms", master)), whole_number(master)) if cap
    ]
    if kept and caps and kept >= min(caps):
        most = some(min(caps), "VM")
        what = f"{kept} of the {most} that the label may have would leave none for other builds"
        remedy = "raise max_vms, or lower it"
        yield ("labels", name, "reserve_for_children"), fault(what, remedy, beside=["max_vms"])


def _long_worker_name(
    name: str, label: Mapping[str, Any], config: Mapping[str, Any]
) -> Iterator[Fault]:
    master = section(config, "master")
    prefix = master.get("name")
    count = label.get("max_vms", master.get("max_vms"))
    parts = [name] if prefix is None else [prefix, name]
    if not all(map(is_name, parts)) or not isinstance(count, int):
        return
    worker = "-".join([*parts, str(count)])
    if len(worker) > LONGEST_WORKER_NAME:
        what = f"a worker would be called {quoted(worker)}, of {len(worker)} characters"
        remedy = f"shorten the label's or the master's name: Buildbot takes {LONGEST_WORKER_NAME}"
        yield ("labels", name, KEY), fault(what, remedy, beside=["max_vms"])
