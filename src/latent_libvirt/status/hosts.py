# SPDX-License-Identifier: GPL-2.0-only
"""Hosts at one moment: what they have, and how much of it is in use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Usage:
    """How much of a budget is given out; more than all of it after the budget has shrunk."""

    used: int
    most: int


@dataclass(frozen=True)
class Density:
    """How much of a host's memory VMs have, by a reading of the last half minute.

    :param vms: that run under the host's libvirt, of all owners.
    :param used: bytes that they have in memory. What some of them share counts for each.
    :param most: bytes of memory that the host has.
    :param shared: bytes that the host saves since it keeps pages with the same content once (KSM);
        ``None`` if it does not say.
    """

    vms: int
    used: int
    most: int
    shared: int | None = None


@dataclass(frozen=True)
class SavedStateStatus:
    """What VMs of a label are resumed from in a slot.

    :param size: bytes.
    """

    slot: int
    label: str
    size: int


@dataclass(frozen=True)
class HostStatus:
    """A host.

    :param trouble: why it is not usable, empty if it is.
    :param drained: by a command, or by the configuration.
    :param slots: how many VMs it may run.
    :param used: how many places are taken there: VMs, and room kept for VMs that will start.
    :param blocked: slots with a domain that is none of this pool's.
    :param shared: whether another owner has VMs or volumes there. If so, no slot is saved before a
        job boots in it.
    :param squatters: which of those domains are of no pool at all, in a sentence each.
    :param connected: whether there is a connection to its libvirt.
    :param vcpus: of the VMs of this pool there, or ``None`` if they are not limited.
    :param memory: the same, in bytes.
    :param starting: how many of those used are for VMs that are not up yet.
    :param saved: what VMs can be resumed from there.
    :param saved_state_space: bytes of that, and of what is about to go; the most is the budget.
    :param resumable: how many states its slots would have, one of each kind of VM that is resumed.
    :param density: how much of its memory VMs have, or ``None`` if that is not known.
    """

    name: str
    usable: bool
    trouble: str
    drained: bool
    slots: int
    used: int
    blocked: tuple[int, ...]
    connected: bool
    vcpus: Usage | None = None
    memory: Usage | None = None
    starting: int = 0
    saved: tuple[SavedStateStatus, ...] = ()
    saved_state_space: Usage | None = None
    resumable: int = 0
    squatters: tuple[str, ...] = ()
    shared: bool = False
    density: Density | None = None
