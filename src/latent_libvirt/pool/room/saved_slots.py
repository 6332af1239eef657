# SPDX-License-Identifier: GPL-2.0-only
"""Slots with saved states, in which VMs come up sooner than in others."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latent_libvirt.pool.room.amounts import Size


def sized(label: str, size: Size) -> str:
    """Return a name for the VMs of *label* that have a size which a build has chosen."""
    return f"{label} {size.vcpus} {size.memory}"


class SavedSlots:
    """In which slots of which hosts there is a saved state.

    VMs of a chosen size are those of a label that :func:`sized` names.
    """

    def __init__(self) -> None:
        self._saved: Mapping[str, Mapping[str, frozenset[int]]] = {}

    def update(
        self, saved: Mapping[str, Mapping[str, frozenset[int]]]
    ) -> dict[str, Collection[str]]:
        """Have those slots, by host and label, and no others.

        :return: the hosts for which that has changed, and the labels that each of them had before.
        """
        before, self._saved = self._saved, saved
        # What has not changed is the same mapping, which is seen at once.
        return {
            host: tuple(before.get(host, ()))
            for host in before.keys() | saved.keys()
            if (then := before.get(host)) is not (now := saved.get(host))
            and (then or {}) != (now or {})
        }

    def labels(self, host: str) -> Collection[str]:
        """Return the labels of which *host* has saved states."""
        return self._saved.get(host, {}).keys()

    def of(self, label: str, host: str) -> frozenset[int]:
        """Return the slots of *host* that have a saved state of *label*."""
        return self._saved.get(host, {}).get(label, frozenset())
