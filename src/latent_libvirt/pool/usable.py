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
    from latent_libvirt.pool.upkeep.missing_images import MissingImages
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
        missing_images: MissingImages,
        *,
        reserved: Callable[[], Mapping[str, frozenset[int]]],
        config: Callable[[], PoolConfig],
    ) -> None:
        self._capacity = capacity
        self._hosts = hosts
        self._host_backoff = host_backoff
        self._state_saver = state_saver
        self._missing_images = missing_images
        self._reserved = reserved
        self._config = config

    def update(self) -> bool:
        """Work out which slots can be used, and return whether that has changed."""
        host_backoff = dict.fromkeys(self._host_backoff.hosts())
        changes = (
            self._capacity.set_unusable(self._hosts.unusable(self._reserved()) | host_backoff),
            self._capacity.set_unfit(
                self._unfit_hosts(),
                without_image=self._missing_images.where_others_may_have_it(),
            ),
            self._capacity.set_saved(self._state_saver.saved_slots()),
        )
        return any(changes)

    def unfit(self) -> dict[str, dict[str, str]]:
        """Return, by label and host, why the label gets no VM there although others may."""
        return _joined(self._unfit_hosts(), self._missing_images.where_others_may_have_it())

    def _unfit_hosts(self) -> dict[str, dict[str, str]]:
        """Return the same for what is not the image's fault."""
        return _joined(self._hosts.too_small(self._config()), self._host_backoff.labels())

    def unfit_or_without_image(self) -> dict[str, dict[str, str]]:
        """Return the same, and where the label's image is missing.

        If it is missing on all hosts, a start is tried all the same. It fails with what is missing
        then.
        """
        return _joined(self.unfit(), self._missing_images.whys())

    def troubles(self, label: str) -> list[str]:
        """Return, in a sentence each, where *label* gets no VM and why."""
        host_backoff = [f"Host {host} is {why}" for host, why in self._host_backoff.hosts().items()]
        unfit = [
            f"Label {label} gets no VM on host {host}: {why}"
            for host, why in self.unfit_or_without_image().get(label, {}).items()
        ]
        return [*self._hosts.troubles(), *host_backoff, *unfit]


def _joined(*every: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """Return all reasons by label and host: where several give one, the first."""
    found: dict[str, dict[str, str]] = {}
    for whys in every:
        for label, hosts in whys.items():
            there = found.setdefault(label, {})
            there.update({host: why for host, why in hosts.items() if host not in there})
    return found
