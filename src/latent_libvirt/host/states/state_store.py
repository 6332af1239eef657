# SPDX-License-Identifier: GPL-2.0-only
"""Keeps the saved states of a host as its record says: found again, and deleted when they go.

The pool and the code that saves decide which states are registered. ``state_io.py`` reads and
deletes them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted.internet.defer import gatherResults
from twisted.logger import Logger

from latent_libvirt.deferreds import Outcome
from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.host.states import state_io
from latent_libvirt.host.states.saved_states import (
    SavedStates,
)

if TYPE_CHECKING:
    from latent_libvirt.host.events import HostEvents
    from latent_libvirt.host.libvirtd.connection import Connection
    from latent_libvirt.host.names import OwnedVolume, Owner
    from latent_libvirt.host.states.saved_states import (
        SavedState,
    )
    from latent_libvirt.host.sweep import Survey

log = Logger()


@dataclass(frozen=True)
class StoreContext:
    """What a keeper needs of its host.

    :param storage_pool: returns the name of the storage pool.
    :param in_use: returns the ids of the states that VMs were resumed from.
    :param changed: called whenever a state comes or goes.
    :param failed: called when states could not be deleted: the sweep is to do it.
    """

    owner: Owner
    connection: Connection
    events: HostEvents
    storage_pool: Callable[[], str]
    in_use: Callable[[], Collection[str]]
    changed: Callable[[], None]
    failed: Callable[[], None]


class StateKeeper:
    """The saved states of one host, of one owner."""

    def __init__(self, context: StoreContext) -> None:
        self.states = SavedStates()
        self._of = context
        self._deleted: set[str] = set()
        self._deleting: list[Outcome] = []

    @property
    def needed(self) -> frozenset[str]:
        """The ids of all states that are not to be swept."""
        return self.states.vm_ids | self.states.retired | frozenset(self._of.in_use())

    def add(self, state: SavedState) -> None:
        """Let VMs be resumed from *state* from now on."""
        log.info("host {host}: there is a {state}", host=self._host, state=str(state))
        self.states.add(state)
        self._of.events.vm_saved(self._host)
        self._of.changed()

    def retire(self, state: SavedState, why: str) -> None:
        """Let no VM be resumed from *state* any more; it goes when none needs it."""
        log.info("host {host}: the {state} goes: {why}", host=self._host, state=str(state), why=why)
        self._retire(state)

    def retire_all(self, why: str) -> None:
        """Do so with all states."""
        for state in self.states:
            self.retire(state, why)

    async def until_deleted(self) -> None:
        """Wait until all that is being deleted is gone, or cannot be deleted now."""
        await gatherResults([deleting.wait() for deleting in self._deleting])

    def reject(self, state: SavedState, why: str) -> None:
        """Do the same, because one was to be resumed from it and did not come up."""
        log.warn(
            "host {host}: the {state} is thrown away, its slot boots: {why}",
            host=self._host,
            state=str(state),
            why=why,
        )
        self._of.events.state_rejected(self._host)
        self._retire(state)

    def _retire(self, state: SavedState) -> None:
        self.states.retire(state)
        self.delete_unused()
        self._of.changed()

    def delete_unused(self) -> None:
        """Begin to delete the retired states that no VM needs any more."""
        unused = self.states.take_unused(self._of.in_use())
        names = [name for state in unused for name in state.volumes]
        self._deleted.update(name.vm_id for name in names)
        if not names or not self._of.connection.is_up:
            return
        deleting = Outcome(self._delete(names))
        self._deleting = [each for each in self._deleting if not each.over] + [deleting]

    async def _delete(self, names: Collection[OwnedVolume]) -> None:
        """Delete those states; if that fails, the sweep will: they are on no record any more."""
        pool = self._of.storage_pool()
        try:
            await self._of.connection.call(
                "delete_saved", "delete saved states", state_io.delete, pool, names
            )
        except LatentLibvirtError as error:
            log.warn("{error}; the sweep will do it", error=str(error))
            self._of.failed()

    async def compare(self, seen: Survey, before: Collection[str], live: Collection[str]) -> None:
        """Register what is there and can be resumed from, and nothing else.

        :param before: the ids of the states registered before the host was looked at.
        :param live: the ids of all registered VMs: they may be about to be saved.
        :raises LatentLibvirtError: if the host cannot be asked.
        """
        self.states.fingerprint = seen.fingerprint
        own = [name for name in seen.saved if name.owner_id == self._of.owner.id]
        found = {name.vm_id for name in own}
        for state in self.states.forget_missing(before, found):
            log.warn("host {host}: the {state} is gone", host=self._host, state=str(state))
        for state in self.states:
            if not state.name.key.startswith(seen.fingerprint):
                self.retire(state, "its QEMU or its processor is another one by now")
        self._deleted &= found
        known = {*self.states.vm_ids, *self.states.retired, *self._deleted}
        await self._read(
            [name for name in own if name.vm_id not in known and name.vm_id not in live]
        )
        self.delete_unused()

    async def _read(self, names: Collection[OwnedVolume]) -> None:
        """Go on with what the master before has saved, as far as it is whole."""
        fresh = [name for name in names if name.key.startswith(self.states.fingerprint)]
        if fresh:
            pool = self._of.storage_pool()
            for state in await self._of.connection.call(
                "read_saved", "read what is saved", state_io.read_all, pool, fresh
            ):
                self.states.add(state)

    @property
    def _host(self) -> str:
        return self._of.connection.host
