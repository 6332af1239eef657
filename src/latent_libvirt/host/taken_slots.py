# SPDX-License-Identifier: GPL-2.0-only
"""Slots of a host that hold a domain of none of our live VMs: another master's, or left over."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from twisted.logger import Logger

if TYPE_CHECKING:
    from latent_libvirt.host.sweep import Survey

log = Logger()


class TakenSlots:
    """What the last sweep of a host has found in its slots, and what was reported since."""

    def __init__(self, host: str) -> None:
        self.slots: frozenset[int] = frozenset()
        self._host = host
        self._strangers: dict[int, str] = {}

    @property
    def strangers(self) -> tuple[str, ...]:
        """Which domains that no master of ours has made keep slots, in a sentence each."""
        return tuple(f"slot {slot}: {who}" for slot, who in sorted(self._strangers.items()))

    def add(self, slot: int) -> None:
        """Note that somebody has taken *slot*."""
        self.slots |= {slot}

    def remove(self, slots: Collection[int]) -> None:
        """Note that nobody has them any more."""
        self.slots -= frozenset(slots)

    def note(self, seen: Survey, own: Collection[str]) -> None:
        """Note what a sweep has found.

        :param own: the ids of our live VMs.
        """
        self.slots = frozenset(
            domain.slot
            for domain in seen.domains
            if domain.record is None or domain.record.vm_id not in own
        )
        there = {domain.slot: str(domain) for domain in seen.domains if domain.record is None}
        for slot, who in there.items():
            if self._strangers.get(slot) != who:
                log.warn("host {host}: slot {slot}: {who}", host=self._host, slot=slot, who=who)
        self._strangers = there
