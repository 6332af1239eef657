# SPDX-License-Identifier: GPL-2.0-only
"""Saved start of one VM: what it is resumed from, and how it is saved for others.

A VM that is to be resumed goes on from the saved state of its slot. If there is none, it is booted
with a disk that can be saved, and saved as soon as it waits.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

from latent_libvirt.errors import GuestError
from latent_libvirt.guest.protocol import SAVE
from latent_libvirt.host import names
from latent_libvirt.host.domains.start_errors import CannotBeRestoredError
from latent_libvirt.host.states.saved_states import saved_state_key

if TYPE_CHECKING:
    import libvirt

    from latent_libvirt.host.domains.machine import Machine
    from latent_libvirt.host.states.saved_states import SavedState
    from latent_libvirt.host.states.state_store import StateKeeper
    from latent_libvirt.host.volumes.base_image import BaseImage

log = Logger()

RESUME_TIMEOUT: Final = 60.0
"""Seconds until a VM that was resumed must say that it waits: it did so when it was saved."""

SAVEABLE_TIMEOUT: Final = 60.0
"""Seconds that a guest may take to write what it has not written to its disk yet."""

_NO_SAVES: Final = "its launcher does not know what a VM needs that is resumed; build it again"


class SavedStart:
    """The saved state of *machine*: one that is there, or one that is to be made."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.state: SavedState | None = None
        """What it is resumed from, or about to be."""
        self.to_save: names.OwnedVolume | None = None
        """As what it is to be saved; ``None`` if it is not."""

    @property
    def _all(self) -> StateKeeper:
        """The saved states of the host."""
        return self._machine.host.saved

    def look(self, image: BaseImage) -> None:
        """Find what it can be resumed from, or else the name under which it is to be saved."""
        plan, record, states = self._machine.plan, self._machine.record, self._all.states
        key = self._key(image)
        for state in states.outdated(plan.slot, key, record.spec_hash):
            self._all.retire(state, "its image or its host is not the same any more")
        if plan.start == "resume":
            self._go_on_from(states.claim(plan.slot, key))
        if self.state is None and states.begin(record.vm_id, image.digest):
            self.to_save = names.OwnedVolume(record.owner_id, plan.slot, record.vm_id, key)

    def _key(self, image: BaseImage) -> str:
        volumes = [source for source in self._machine.makeup.sources if source.path]
        return saved_state_key(
            self._machine.spec(),
            image=" ".join([image.version, *(each.changed for each in volumes)]),
            fingerprint=self._all.states.fingerprint,
        )

    def _go_on_from(self, state: SavedState | None) -> None:
        self.state = state
        saved = "" if state is None else state.name.vm_id
        self._machine.record = replace(self._machine.record, saved=saved)

    async def resume(self, timeout: float) -> bool:
        """Let the VM go on from its state, on a new overlay; return whether it waits.

        If not, that state is thrown away, nothing is left of the attempt, and the VM can be booted.

        :raises ConfigurationError: if the image has been deleted since it was looked up.
        :raises CapacityError: if another master has taken the slot in the meantime.
        :raises HostError: if the host cannot do it now.
        """
        machine = self._machine
        try:
            await machine.clone()
            what = f"resume domain {machine.name}"
            await machine.steps.call("restore", what, self._restore)
            machine.watch.is_there()
            await machine.until_waiting(min(timeout, RESUME_TIMEOUT))
        except (CannotBeRestoredError, GuestError) as error:
            if machine.is_ending:
                raise
            await self._start_over(str(error))
            return False
        return True

    def _restore(self, connection: libvirt.virConnect) -> None:
        """Restore it, in a thread of the connection."""
        machine = self._machine
        assert self.state is not None
        machine.domain_id = machine.calls.restore(
            connection,
            state=self.state,
            disks=machine.makeup.overlays,
            record=machine.record,
            guest=machine.guest,
        )

    async def _start_over(self, why: str) -> None:
        """Leave nothing of the attempt to resume, and never make it again."""
        machine, state = self._machine, self.state
        assert state is not None
        machine.guest.console.finish("it could not be resumed, and is booted")
        machine.watch.is_gone()
        clear = partial(machine.calls.clear, guest=machine.guest)
        try:
            await machine.steps.call("destroy", f"clear the slot of domain {machine.name}", clear)
        finally:
            self._go_on_from(None)
            self._all.reject(state, why)
        machine.begin_again()

    async def save(self) -> None:
        """Save the VM, which waits: it is gone then, and its slot is saved.

        One that cannot be saved runs on as it is, and :attr:`state` stays ``None``.

        :raises GuestError: if it ends, or does not get ready to be saved.
        :raises HostError: if there is no connection to its host.
        """
        machine = self._machine
        try:
            if machine.guest.can_be_saved:
                await self._get_ready_and_save()
            elif self._all.states.note_unfit(machine.image_digest, _NO_SAVES):
                log.warn(
                    "image {image}: its VMs are booted, not resumed: {why}",
                    image=machine.image_digest,
                    why=_NO_SAVES,
                )
        finally:
            self._all.states.end(machine.record.vm_id)

    async def _get_ready_and_save(self) -> None:
        machine = self._machine
        assert self.to_save is not None
        await machine.write_to_guest(SAVE)
        advice = "Nothing but its disk can hold it up: look at the host's storage."
        await machine.guest.until_it_says("saveable", timeout=SAVEABLE_TIMEOUT, resolution=advice)
        machine.watch.is_being_saved()
        save = partial(machine.calls.save, name=self.to_save)
        state = await machine.steps.call("save", f"save domain {machine.name}", save)
        if state is None:
            machine.watch.runs_on()
        elif not machine.is_ending:  # that deletes the state, too
            self._is_saved_as(state)

    def _is_saved_as(self, state: SavedState) -> None:
        machine = self._machine
        machine.meter.goes_on()
        self.to_save = None
        machine.guest.forget_what_it_said()
        self._all.add(state)
        if machine.plan.start == "resume":
            self._go_on_from(state)

    def delete(self, connection: libvirt.virConnect) -> None:
        """Delete what was to be saved, if it was not. Blocks."""
        if self.to_save is not None:
            self._machine.calls.delete_state(connection, self.to_save)
