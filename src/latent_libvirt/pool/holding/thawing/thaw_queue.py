# SPDX-License-Identifier: GPL-2.0-only
"""Queue of thaws that wait for the slots of their VMs, and why some of them were given up."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted.logger import Logger

from latent_libvirt.pool.holding.thawing.thaw import Thaw

if TYPE_CHECKING:
    from latent_libvirt.pool.holding.frozen import AllFrozen, Frozen
    from latent_libvirt.pool.holding.thawing.conditions import Conditions

log = Logger()


@dataclass(frozen=True)
class QueuedThaw:
    """A thaw that waits, by names: a host is another object when it has been configured again.

    :param host: the name of the host that has the VM.
    :param target: the name of the host to thaw it on.
    :param seconds: for how long it is to be held then.
    """

    host: str
    target: str
    seconds: float | None


class ThawQueue:
    """The thaws that wait, in the order in which they were asked for."""

    def __init__(self, frozen: AllFrozen, conditions: Conditions) -> None:
        self._frozen = frozen
        self._conditions = conditions
        self._queued: dict[str, QueuedThaw] = {}
        self._given_up: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._queued)

    def get(self, frozen: Frozen) -> QueuedThaw | None:
        """Return the thaw of that VM, if it waits."""
        return self._queued.get(frozen.vm.vm_id)

    def waits_for(self, frozen: Frozen) -> str:
        """Return, as a sentence without its full stop, what its thaw waits for; empty if none."""
        queued = self.get(frozen)
        host = None if queued is None else self._frozen.host(queued.target)
        return "" if host is None else self._conditions.why_no_room(Thaw(frozen, host, None))

    def add(self, thaw: Thaw) -> None:
        """Have *thaw* wait, in the place of an earlier one of the same VM."""
        queued = QueuedThaw(thaw.frozen.host.name, thaw.host.name, thaw.seconds)
        self._queued[thaw.frozen.vm.vm_id] = queued

    def put_back(self, frozen: Frozen, queued: QueuedThaw) -> None:
        """Have it wait again, unless another thaw of that VM does."""
        self._queued.setdefault(frozen.vm.vm_id, queued)

    def remove(self, frozen: Frozen) -> QueuedThaw | None:
        """Have the thaw of that VM wait no more, and return it if it did."""
        return self._queued.pop(frozen.vm.vm_id, None)

    def clear(self) -> None:
        """Have none wait."""
        self._queued.clear()

    def possible(self) -> list[Thaw]:
        """Return what waits, as far as it is there and may be thawed."""
        if not self._queued:
            return []
        there = {frozen.vm.vm_id: frozen for frozen in self._frozen}
        thaws = [
            Thaw(there[vm_id], host, queued.seconds)
            for vm_id, queued in self._queued.items()
            if vm_id in there and (host := self._frozen.host(queued.target)) is not None
        ]
        return [thaw for thaw in thaws if self._conditions.refusal(thaw) is None]

    def reserved(self) -> dict[str, frozenset[int]]:
        """Return the slots, by host, that wait for VMs that can be thawed."""
        slots: dict[str, set[int]] = defaultdict(set)
        for thaw in self.possible():
            if not self._conditions.is_label_drained(thaw):
                slots[thaw.host.name].add(thaw.frozen.vm.slot)
        return {host: frozenset(of) for host, of in slots.items()}

    # What is given up.

    def given_up(self, frozen: Frozen) -> str:
        """Return why it waits for its slot no more, and what to do, empty if nothing is known."""
        return self._given_up.get(frozen.vm.vm_id, "")

    def forget_given_up(self, frozen: Frozen) -> None:
        """Forget why it waits no more: it is to be thawed again."""
        self._given_up.pop(frozen.vm.vm_id, None)

    def tidy(self) -> None:
        """Remove what cannot be thawed any more."""
        self._forget_gone()
        self._give_up_what_lacks()

    def _forget_gone(self) -> None:
        """Wait no longer for what its host has no more; one that is not usable may have it."""
        for vm_id, queued in tuple(self._queued.items()):
            host = self._frozen.host(queued.host)
            if host is not None and host.usable and vm_id not in host.frozen.vm_ids:
                del self._queued[vm_id]

    def _give_up_what_lacks(self) -> None:
        """Wait no longer for a host that, as it is configured now, cannot have the VM."""
        if not self._queued:
            return
        there = {frozen.vm.vm_id: frozen for frozen in self._frozen}
        self._given_up = {vm_id: why for vm_id, why in self._given_up.items() if vm_id in there}
        for vm_id in self._queued.keys() & there.keys():
            lack = self._conditions.lack(there[vm_id].vm, self._queued[vm_id].target)
            if lack is not None:
                del self._queued[vm_id]
                self._give_up(there[vm_id], *lack)

    def _give_up(self, frozen: Frozen, why: str, remedy: str) -> None:
        text = f"Its thaw was given up: {why}. {remedy} Then thaw it again."
        self._given_up[frozen.vm.vm_id] = text
        log.warn("VM {vm} stays frozen. {text}", vm=str(frozen), text=text)
