# SPDX-License-Identifier: GPL-2.0-only
"""Caps: how many VMs a pool's configuration allows, where, and of which size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from latent_libvirt.pool.room.amounts import Left, Size
from latent_libvirt.status.names import Target

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.config.sections.host import HostConfig
    from latent_libvirt.pool.room.placement import Placement


@dataclass(frozen=True)
class LabelCap:
    """How many VMs of a label may exist at once, where, and what each takes of its host.

    :param last_slots: the last slot of each host that has its devices, if it needs any.
    """

    max_vms: int
    hosts: tuple[str, ...]
    size: Size = field(default_factory=Size)
    last_slots: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Budget:
    """What a host may give out to all its VMs together.

    :param memory: in bytes.
    """

    vcpus: float = math.inf
    memory: float = math.inf


UNLIMITED = Budget()
"""Of a host whose slots alone limit its VMs."""


@dataclass(frozen=True)
class Caps:
    """All caps of one pool.

    :param max_vms: the master's.
    :param slots: of each host.
    :param starting: how many VMs of a host may be starting at once; without an entry, any number.
    :param budgets: of each host; without an entry, there is no limit but its slots.
    :param placement: which of several hosts with room is taken.
    :param drained: what has no room, whatever else is said.
    :param for_children: how many VMs labels keep for builds that others wait for; those that keep
        none are left out.
    """

    max_vms: int
    slots: Mapping[str, int]
    labels: Mapping[str, LabelCap]
    starting: Mapping[str, int] = field(default_factory=dict)
    budgets: Mapping[str, Budget] = field(default_factory=dict)
    placement: Placement = "spread"
    drained: frozenset[Target] = frozenset()
    for_children: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, config: PoolConfig) -> Caps:
        """Return the caps that *config* says."""
        hosts = config.hosts.items()
        return cls(
            max_vms=config.master.max_vms,
            slots={name: host.slots for name, host in hosts},
            labels={name: _label_cap(config, name) for name in config.labels},
            starting={name: host.max_starting for name, host in hosts if host.max_starting},
            budgets={name: _budget(host) for name, host in hosts},
            placement=config.master.placement,
            drained=drained_by(config),
            for_children=_kept_for_children(config),
        )

    def is_usual(self, label: str, size: Size | None) -> bool:
        """Whether *size* is what VMs of *label* have for which nobody chooses one."""
        cap = self.labels.get(label)
        return size is None or (cap is not None and cap.size == size)

    def may_give(self, host: str, size: Size) -> bool:
        """Whether *host* could give *size* to a VM if it had no other."""
        return self.left(host, Size(), 1).fits(size)

    def left(self, host: str, given: Size, slots: int) -> Left:
        """Return what *host* has left of its budget, and *slots*, when it has given *given*."""
        budget = self.budgets.get(host, UNLIMITED)
        return Left(slots, budget.vcpus - given.vcpus, budget.memory - given.memory)

    @cached_property
    def slots_for_devices(self) -> Mapping[str, int]:
        """The last slot of each host that has devices for some label."""
        found: dict[str, int] = {}
        for label in self.labels.values():
            for host, last in label.last_slots.items():
                found[host] = max(last, found.get(host, 0))
        return found


def _label_cap(config: PoolConfig, name: str) -> LabelCap:
    label = config.labels[name]
    size, last_slots = Size(label.vcpus, label.memory), config.slots_with_devices(name)
    return LabelCap(label.max_vms, config.hosts_for(name), size, last_slots)


def _kept_for_children(config: PoolConfig) -> Mapping[str, int]:
    kept = {name: label.reserve_for_children for name, label in config.labels.items()}
    return {name: count for name, count in kept.items() if count}


def _budget(host: HostConfig) -> Budget:
    vcpus, memory = host.vcpu_budget, host.memory_budget
    return Budget(math.inf if vcpus is None else vcpus, math.inf if memory is None else memory)


def drained_by(config: PoolConfig) -> frozenset[Target]:
    """Return what *config* itself drains."""
    hosts = {Target("host", name) for name, host in config.hosts.items() if host.drain}
    labels = {Target("label", name) for name, label in config.labels.items() if label.drain}
    return frozenset(hosts | labels)
