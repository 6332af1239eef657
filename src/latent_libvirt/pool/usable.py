# SPDX-License-Identifier: GPL-2.0-only
"""Usable slots: which slots of which hosts may be given to VMs now, and why others may not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latent_libvirt.config.models import PoolConfig
    from latent_libvirt.pool.host_backoff import HostBackoff
    from latent_libvirt.pool.hosts import Hosts
    from latent_libvirt.pool.room.capacity import Capacity
    from latent_libvirt.pool.upkeep.state_saver import StateSaver


class UsableSlots:
    """The slots that hosts report, without those in back-off and those that are reserved.

    :param capacity: that gives room on them.
    :param reserved: returns the slots, by host, that wait for VMs to be thawed.
    :param config: returns the pool's configuration as it is now.
    """

    def __init__(  # noqa: PLR0913 - all that makes a slot usable
        self,
        capacity: Capacity,
        hosts: Hosts,
        host_backoff: HostBackoff,
        state_saver: StateSaver,
        *,
        reserved: Callable[[], Mapping[str, frozenset[int]]],
        config: Callable[[], PoolConfig],
    ) -> None:
        self._capacity = capacity
        self._hosts = hosts
        self._host_backoff = host_backoff
        self._state_saver = state_saver
        self._reserved = reserved
        self._config = config

    def update(self) -> bool:
        """Work out which slots can be used, and return whether that has changed."""
        host_backoff = dict.fromkeys(self._host_backoff.hosts())
        changes = (
            self._capacity.set_unusable(self._hosts.unusable(self._reserved()) | host_backoff),
            self._capacity.set_unfit(self.unfit()),
            self._capacity.set_saved(self._state_saver.saved_slots()),
        )
        return any(changes)

    def unfit(self) -> dict[str, dict[str, str]]:
        """Return, by label and host, why the label gets no VM there although others may."""
        unfit = self._hosts.too_small(self._config())
        for label, hosts in self._host_backoff.labels().items():
            unfit[label] = hosts | unfit.get(label, {})
        return unfit

    def troubles(self) -> list[str]:
        """Return, in a sentence each, which slots are not usable and why."""
        host_backoff = [f"Host {host} is {why}" for host, why in self._host_backoff.hosts().items()]
        unfit = [
            f"Label {label} gets no VM on host {host}: {why}"
            for label, hosts in self.unfit().items()
            for host, why in hosts.items()
        ]
        return [*self._hosts.troubles(), *host_backoff, *unfit]
