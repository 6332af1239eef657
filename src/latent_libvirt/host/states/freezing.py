# SPDX-License-Identifier: GPL-2.0-only
"""Freezing on one host: VMs that are frozen, thawed, marked as moved, and deleted there."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.host.states import frozen_io
from latent_libvirt.host.states.moving.move import Move

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from latent_libvirt.host.domains.machine import Machine
    from latent_libvirt.host.host import Host
    from latent_libvirt.host.states.frozen import FrozenVm


class Freezing:
    """What changes which VMs are frozen on a host.

    :param sweep_later: called if something is left that only a sweep can free.
    """

    def __init__(self, host: Host, sweep_later: Callable[[], None]) -> None:
        self._host = host
        self._frozen = host.frozen
        self._sweep_later = sweep_later

    async def freeze(self, machine: Machine, space: int) -> FrozenVm:
        """Freeze the VM and unregister it.

        :param space: bytes that its memory and its disk may take.
        :raises CannotBeFrozenError: if it runs on as it is.
        :raises LatentLibvirtError: if nobody knows what has become of it but the host.
        """
        with self._busy(machine.record.vm_id):
            frozen = await machine.freeze(space)
            self._frozen.add(frozen)
        self._host.live.remove(machine)
        return frozen

    async def thaw(self, machine: Machine, frozen: FrozenVm) -> None:
        """Let a frozen VM, which *machine* is from now on, go on.

        :raises LatentLibvirtError: if it stays frozen, or nobody knows but the host.
        """
        with self._busy(frozen.vm_id):
            await machine.thaw(frozen)
            self._frozen.remove(frozen.vm_id)

    @contextlib.contextmanager
    def _busy(self, vm_id: str) -> Iterator[None]:
        self._frozen.busy.add(vm_id)
        try:
            yield
        finally:
            self._frozen.busy.discard(vm_id)

    def move_of(self, frozen: FrozenVm, source: Host) -> Move:
        """Return what lets a VM that is frozen on *source* go on here."""
        return Move(frozen, source, self._host)

    async def mark_moved(self, frozen: FrozenVm, target: Host) -> None:
        """Write down that a frozen VM may run on *target* from now on.

        :raises LatentLibvirtError: if that cannot be done now.
        """
        record = replace(frozen.record, moved_to=f"{target.uuid} {target.name}")
        marked = replace(frozen, record=record)
        # First here: the host may do it although its answer is lost.
        self._frozen.add(marked)
        what = f"mark frozen VM {frozen.domain} as moved"
        await self._host.connection.call("mark", what, frozen_io.mark_moved, marked)

    async def delete(self, frozen: FrozenVm) -> None:
        """Delete a frozen VM.

        :raises LatentLibvirtError: if that cannot be done now; the sweep will do it.
        """
        self._frozen.remove(frozen.vm_id)
        what, host = f"delete frozen VM {frozen.domain}", self._host
        delete, pool = frozen_io.delete, host.storage_pool
        try:
            await host.connection.call("delete_saved", what, delete, pool, frozen.name)
        except LatentLibvirtError:
            self._sweep_later()
            raise
