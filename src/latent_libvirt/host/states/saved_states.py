# SPDX-License-Identifier: GPL-2.0-only
"""The saved states of a host that VMs can be resumed from. No I/O, no libvirt.

A slot's state is good for exactly the VM that was saved: the same hardware in the same slot, the
same image, and a QEMU and a processor that understand what another run of theirs has written. All
of that is in its key. How a VM is saved and restored is in ``state_io.py``, which
slots are saved that of the pool.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from latent_libvirt.host.domains.domain_xml import (
    VmRecord,
    domain_xml,
)

if TYPE_CHECKING:
    from latent_libvirt.host.domains.domain_xml import (
        DomainSpec,
    )
    from latent_libvirt.host.names import OwnedVolume
    from latent_libvirt.host.volumes.storage import Backing

FINGERPRINT_DIGITS = 8
_CONTENT_DIGITS = 16

_NOBODY = VmRecord("", "", "", "", "", "", "", "")


def saved_state_key(spec: DomainSpec, *, image: str, fingerprint: str) -> str:
    """Return a key that only those saved states have that *spec* can be resumed from.

    :param image: the base image's digest.
    :param fingerprint: of the host, see :func:`~latent_libvirt.host.states.state_io.fingerprint`.
    """
    xml = domain_xml(replace(spec, record=_NOBODY, disk="", keeps_disk=False))
    content = hashlib.sha256(json.dumps([xml, image, spec.hardware.vm.hash]).encode()).hexdigest()
    return fingerprint + content[:_CONTENT_DIGITS]


@dataclass(frozen=True)
class SavedState:
    """A VM that was saved while it waited for an identity.

    :param record: of the VM that was saved.
    :param xml: the domain's, as it was saved.
    :param path: of the saved memory, on the host.
    :param size: bytes that memory and disks take.
    :param more_disks: the names of its disks beside the first one.
    :param backings: what overlays need to know of its disks, in their order.
    """

    name: OwnedVolume
    record: VmRecord
    xml: str
    path: str
    size: int
    more_disks: tuple[OwnedVolume, ...] = ()
    backings: tuple[Backing, ...] = ()

    @property
    def volumes(self) -> tuple[OwnedVolume, ...]:
        """All that it consists of, in the order in which it is to be deleted."""
        return (self.name, *self.more_disks)

    @property
    def disks(self) -> tuple[tuple[OwnedVolume, Backing], ...]:
        """Its disks, each with what overlays need to know of it."""
        return tuple(zip(self.volumes, self.backings, strict=True))

    def __str__(self) -> str:
        return f"saved state of slot {self.name.slot} for label {self.record.label}"


class SavedStates:
    """The saved states of one host that belong to one owner."""

    def __init__(self) -> None:
        self.fingerprint = ""
        """Of the host as it is now; empty until that is known."""
        self._states: dict[str, SavedState] = {}
        self._slots: dict[str, frozenset[int]] | None = None
        self._size: int | None = None
        self.version = 0
        """Another number whenever a state has come or gone."""
        self._retired: dict[str, SavedState] = {}
        self._last_used: dict[str, int] = {}
        self._uses = 0
        self._begun: set[str] = set()
        self._unfit: dict[str, str] = {}

    def __iter__(self) -> Iterator[SavedState]:
        return iter(tuple(self._states.values()))

    @property
    def size(self) -> int:
        """Bytes of all states, with those that are to go but still in use."""
        if self._size is None:
            every = (*self._states.values(), *self._retired.values())
            self._size = sum(state.size for state in every)
        return self._size

    def sizes(self) -> dict[str, int]:
        """Return the bytes of the largest state for each spec, by its hash."""
        found: dict[str, int] = {}
        for state in self._states.values():
            spec_hash = state.record.spec_hash
            found[spec_hash] = max(state.size, found.get(spec_hash, 0))
        return found

    @property
    def vm_ids(self) -> frozenset[str]:
        """The ids of all VMs that were saved and can be resumed."""
        return frozenset(self._states)

    @property
    def retired(self) -> frozenset[str]:
        """The ids of those states that are to go."""
        return frozenset(self._retired)

    # One state.

    def add(self, state: SavedState) -> None:
        """Record a state that VMs can be resumed from."""
        self._states[state.name.vm_id] = state
        self._has_changed()
        self._use(state)

    def claim(self, slot: int, key: str) -> SavedState | None:
        """Return the state of *slot* with that key, if there is one: a VM is resumed from it."""
        for state in self._states.values():
            if (state.name.slot, state.name.key) == (slot, key):
                self._use(state)
                return state
        return None

    def outdated(self, slot: int, key: str, spec_hash: str) -> list[SavedState]:
        """Return the states of *slot* for the same spec, of which another *key* came since."""
        return [
            state
            for state in self._states.values()
            if (state.name.slot, state.record.spec_hash) == (slot, spec_hash)
            and state.name.key != key
        ]

    def retire(self, state: SavedState) -> None:
        """Resume nothing from *state* any more."""
        self._has_changed()
        if self._states.pop(state.name.vm_id, None) is not None:
            self._retired[state.name.vm_id] = state

    def take_unused(self, in_use: Collection[str]) -> list[SavedState]:
        """Forget the retired states that no VM needs any more, and return them.

        :param in_use: ids of the states that VMs were resumed from.
        """
        unused = [state for vm_id, state in self._retired.items() if vm_id not in in_use]
        if unused:
            self._has_changed()
        for state in unused:
            del self._retired[state.name.vm_id]
        return unused

    def forget_missing(self, before: Collection[str], found: Collection[str]) -> list[SavedState]:
        """Forget what somebody has deleted, and return it.

        :param before: the ids of those registered before the host was looked at.
        :param found: the ids of those that were there.
        """
        missing = [
            state for vm_id, state in self._states.items() if vm_id in before and vm_id not in found
        ]
        if missing:
            self._has_changed()
        for state in missing:
            del self._states[state.name.vm_id]
        return missing

    def _has_changed(self) -> None:
        self._slots = self._size = None
        self.version += 1

    # All of them.

    def slots(self) -> Mapping[str, frozenset[int]]:
        """Return the slots in which VMs can be resumed, by the hash of their spec.

        A pool asks that of all its hosts whenever one changes.
        """
        if self._slots is None:
            found: dict[str, set[int]] = defaultdict(set)
            for state in self._states.values():
                found[state.record.spec_hash].add(state.name.slot)
            self._slots = {spec_hash: frozenset(slots) for spec_hash, slots in found.items()}
        return self._slots

    def least_used_first(self) -> list[SavedState]:
        """Return all states, those first that were not used for the longest."""
        return sorted(self._states.values(), key=lambda state: self._last_used[state.name.vm_id])

    def _use(self, state: SavedState) -> None:
        self._uses += 1
        self._last_used[state.name.vm_id] = self._uses

    # What is being saved, and what cannot be.

    def begin(self, vm_id: str, image: str) -> bool:
        """Whether that VM may be saved now: one after the other, and only what can be.

        Anyone who gets True calls :meth:`end` afterwards, whatever comes of it.
        """
        if self._begun or image in self._unfit:
            return False
        self._begun.add(vm_id)
        return True

    def end(self, vm_id: str) -> None:
        """Note that that VM has been saved, or will not be."""
        self._begun.discard(vm_id)

    @property
    def is_busy(self) -> bool:
        """Whether a VM is being saved."""
        return bool(self._begun)

    def note_unfit(self, image: str, why: str) -> bool:
        """Note that VMs of this image cannot be saved; return whether that is new."""
        is_new = image not in self._unfit
        self._unfit[image] = why
        return is_new

    def why_unfit(self, image: str) -> str:
        """Return why VMs of this image cannot be saved; empty if nobody knows a reason."""
        return self._unfit.get(image, "")
