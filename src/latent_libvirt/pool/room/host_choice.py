# SPDX-License-Identifier: GPL-2.0-only
"""Choice of a host for the next VM of a label, and of the slot there.

A slot with a saved state comes before all others. Which of many hosts has the room is found in
``placement.py``; what each of them has left is counted here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from latent_libvirt.pool.room.amounts import Size
from latent_libvirt.pool.room.placement import HostRanking
from latent_libvirt.pool.room.saved_slots import SavedSlots, sized

if TYPE_CHECKING:
    from latent_libvirt.pool.room.allocations import Allocations
    from latent_libvirt.pool.room.free_slots import FreeSlots
    from latent_libvirt.pool.room.host_sets import HostSet
    from latent_libvirt.pool.room.limits import Limits


class HostChoice:
    """Which host and which slot are next, as long as the caps leave room for a VM at all.

    What a choice costs hardly depends on how many hosts and labels there are; only new caps are
    worked out for all of them.
    """

    def __init__(self, limits: Limits, allocations: Allocations, free: FreeSlots) -> None:
        self._limits = limits
        self._allocations = allocations
        self._free = free
        self._saved = SavedSlots()
        self.caps_changed()

    def caps_changed(self) -> None:
        """Work out what each host has left, and what each label may use."""
        caps = self._limits.caps
        limits = {host: caps.left(host, Size(), slots) for host, slots in caps.slots.items()}
        self._ranking = HostRanking(limits, {label.size for label in caps.labels.values()})
        self.hosts_for_labels_changed()
        self._ready: dict[str, HostSet] = defaultdict(lambda: self._ranking.group(()))
        for host in caps.slots:
            self.recount(host)

    def hosts_for_labels_changed(self) -> None:
        """Work out which hosts each label may use."""
        hosts = {name: self._limits.hosts_for(name) for name in self._limits.caps.labels}
        groups = {each: self._ranking.group(each) for each in set(hosts.values())}
        self._groups = {name: groups[each] for name, each in hosts.items()}

    def recount(self, host: str) -> None:
        """Work out what *host* has left, after it has given room or got room back."""
        caps = self._limits.caps
        if host in caps.slots:
            free = self._free.of(host)
            slots = min(len(free), caps.slots[host] - len(self._allocations.slots(host)))
            self._ranking.note(host, caps.left(host, self._allocations.given(host), slots))
            self._look_for_saved(host, free)

    def set_saved(self, saved: Mapping[str, Mapping[str, frozenset[int]]]) -> bool:
        """Say in which slots a VM comes up sooner than in others: slots by host and label.

        :return: whether that has changed.
        """
        changed = self._saved.update(saved)
        for host, labels in changed.items():
            self._look_for_saved(host, self._free.of(host), also=labels)
        return bool(changed)

    def _look_for_saved(self, host: str, free: list[int], *, also: Iterable[str] = ()) -> None:
        """Record for which labels there is a saved slot among those that are *free*.

        :param also: labels for which there may have been one.
        """
        for label in {*self._saved.labels(host), *also}:
            is_ready = not self._saved.of(label, host).isdisjoint(free)
            self._ranking.put(self._ready[label], host, inside=is_ready)

    def has_room(self, label: str, size: Size | None) -> bool:
        """Whether any host has room for a VM of *label*, which has a cap.

        :param size: that a build has chosen, or ``None`` for the label's.
        """
        if self._has_to_look_at_each(label, size):
            return self._best(label, (), size) is not None
        return self._ranking.has_room((self._groups[label],), self._limits.caps.labels[label].size)

    def host(self, label: str, avoid: Collection[str], size: Size | None) -> str | None:
        """Return the host for the next VM of *label*, which has a cap, or ``None`` without room.

        :param avoid: hosts to take only if no other has room.
        :param size: that a build has chosen, or ``None`` for the label's.
        """
        return self._best_with_saved(label, avoid, size) or self._best(label, avoid, size)

    def slot(self, label: str, host: str, avoid: Collection[tuple[str, int]], size: Size) -> int:
        """Return the slot for the next VM of *label* on *host*, which has room for it.

        :param avoid: slots, by host and number, to take only if none else is free there.
        """
        free = self._free.for_label(label, host)
        free = [slot for slot in free if (host, slot) not in avoid] or free
        is_usual = self._limits.caps.is_usual(label, size)
        saved = self._saved.of(label if is_usual else sized(label, size), host)
        return next((slot for slot in free if slot in saved), free[0])

    def _best_with_saved(self, label: str, avoid: Collection[str], size: Size | None) -> str | None:
        """Return the best host where a VM of *label* comes up soonest, none of those to avoid."""
        if not self._limits.caps.is_usual(label, size):
            return None  # among the slots of the best host, one that is saved is taken
        if label not in self._ready:
            return None
        best = self._best(label, avoid, size, among=(self._ready[label],))
        return None if best in avoid else best

    def _best(
        self,
        label: str,
        avoid: Collection[str],
        size: Size | None,
        *,
        among: tuple[HostSet, ...] = (),
    ) -> str | None:
        caps = self._limits.caps
        cap = caps.labels[label]
        if self._has_to_look_at_each(label, size):
            hosts = self._limits.hosts_for(label)
            hosts_with_slots = [host for host in hosts if self._free.for_label(label, host)]
            return self._ranking.best_of(hosts_with_slots, size or cap.size, caps.placement, avoid)
        return self._ranking.best((self._groups[label], *among), cap.size, caps.placement, avoid)

    def _has_to_look_at_each(self, label: str, size: Size | None) -> bool:
        """Whether the hosts with room are not ranked: for VMs with devices, or of a chosen size."""
        caps = self._limits.caps
        return bool(caps.labels[label].last_slots) or not caps.is_usual(label, size)
