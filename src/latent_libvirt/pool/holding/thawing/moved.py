# SPDX-License-Identifier: GPL-2.0-only
"""Moves that were cut off at their end: a frozen VM may run on another host already.

The memory of the VM names that host (``host/states/moving/move.py``). What the host says decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from latent_libvirt.host.host import Host
    from latent_libvirt.host.states.frozen import FrozenVm

_OR_GONE: Final = (
    "If that host is gone for good, 'latent-libvirt export' packs the VM as it was frozen."
)


def where_it_may_run(vm: FrozenVm, hosts: Iterable[Host]) -> tuple[str, str] | None:
    """Return why nobody knows whether a frozen VM runs on another host, and what to do.

    A VM that is known to run there is frozen no more, and is not asked about.

    :param hosts: those that are configured.
    :return: ``None`` if it runs nowhere.
    """
    uuid, _, name = vm.record.moved_to.partition(" ")
    if not uuid:
        return None
    hosts = tuple(hosts)
    usable = [host for host in hosts if host.usable and host.uuid == uuid]
    # A domain that is not adopted yet, or cannot be ended, keeps its slot.
    if any(vm.slot not in host.blocked_slots for host in usable):
        return None
    why, remedy = _unknown(name, uuid, hosts)
    if usable:
        remedy = f"See what domain has slot {vm.slot} there."
        why = f"slot {vm.slot} there has a domain that the pool does not use"
    began = f"it may run on host {name}, where its last move was about to end, and {why}"
    return began, f"{remedy} {_OR_GONE}"


def _unknown(name: str, uuid: str, hosts: Iterable[Host]) -> tuple[str, str]:
    host = next((host for host in hosts if host.name == name), None)
    if host is None:
        return "that is not in the pool's YAML file any more", f"Put host {name} back there."
    if not host.usable:
        return f"that is not usable: {host.trouble}", f"See to host {name}."
    return (
        "that is another machine now",
        f"Give the machine with the UUID {uuid} another name in the pool's YAML file.",
    )
