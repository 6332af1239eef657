# SPDX-License-Identifier: GPL-2.0-only
"""Limits at this moment: the caps, and what operators and hosts take away from them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latent_libvirt.pool.room.caps import Caps
    from latent_libvirt.status.names import Target


class Limits:
    """What may be taken, whatever is taken already."""

    def __init__(self, caps: Caps) -> None:
        self._drained: frozenset[Target] = frozenset()
        self._unusable: Mapping[str, frozenset[int] | None] = {}
        self._unfit: Mapping[str, frozenset[str]] = {}
        self._without_image: Mapping[str, frozenset[str]] = {}
        self.configure(caps)

    def configure(self, caps: Caps) -> None:
        """Have *caps* from now on."""
        self.caps = caps
        self._all_drained = self._drained | caps.drained

    @property
    def drained(self) -> frozenset[Target]:
        """What operators drain, beside the caps."""
        return self._drained

    def drain(self, drained: frozenset[Target]) -> list[str]:
        """Have operators drain this and nothing else.

        :return: the hosts for which that has changed.
        """
        changed, self._drained = self._drained ^ drained, drained
        self._all_drained = drained | self.caps.drained
        return [target.name for target in changed if target.kind == "host"]

    def is_drained(self, target: Target) -> bool:
        """Whether *target* has no room, by the caps or by an operator."""
        return target in self._all_drained

    def set_unusable(self, unusable: Mapping[str, frozenset[int] | None]) -> list[str]:
        """Say what cannot be used now: slots by host, ``None`` for all of a host.

        :return: the hosts for which that has changed.
        """
        before, self._unusable = self._unusable, dict(unusable)
        none: frozenset[int] = frozenset()
        return [
            host
            for host in before.keys() | unusable.keys()
            if before.get(host, none) != unusable.get(host, none)
        ]

    def unusable_slots(self, host: str) -> frozenset[int] | None:
        """Return the slots of *host* that cannot be used now, or ``None`` for all of them."""
        return self._unusable.get(host, frozenset())

    def set_unfit(
        self,
        unfit: Mapping[str, Collection[str]],
        without_image: Mapping[str, Collection[str]] = MappingProxyType({}),
    ) -> bool:
        """Say which hosts a label cannot use now, although they are among its own: by label.

        :param without_image: those where no VM can start, since its image is missing.
        :return: whether any of that has changed.
        """
        before = self._unfit, self._without_image
        self._unfit, self._without_image = _not_empty(unfit), _not_empty(without_image)
        return (self._unfit, self._without_image) != before

    def hosts_for(self, label: str) -> tuple[str, ...]:
        """Return the hosts on which a VM of *label*, which has a cap, can start now."""
        hosts, none = self.caps.labels[label].hosts, frozenset[str]()
        unfit = self._unfit.get(label, none) | self._without_image.get(label, none)
        return tuple(host for host in hosts if host not in unfit) if unfit else hosts

    def fits(self, label: str, host: str) -> bool:
        """Whether a VM of *label*, which has a cap, may be on *host*, wherever it has started."""
        return host in self.caps.labels[label].hosts and host not in self._unfit.get(label, ())


def _not_empty(hosts_of: Mapping[str, Collection[str]]) -> dict[str, frozenset[str]]:
    return {label: frozenset(hosts) for label, hosts in hosts_of.items() if hosts}
