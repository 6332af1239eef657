# SPDX-License-Identifier: GPL-2.0-only
"""The pool's side of the page: it is published, and does what users ask on the page."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from latent_libvirt.deferreds import in_background
from latent_libvirt.master.page import terminal
from latent_libvirt.master.page.far_screen import ScreenServer
from latent_libvirt.master.page.far_terminal import TerminalServer
from latent_libvirt.master.page.publisher import Publisher
from latent_libvirt.master.page.remote import CommandServer
from latent_libvirt.master.page.rows import row_of, rows

if TYPE_CHECKING:
    from latent_libvirt.control.operations import Operations
    from latent_libvirt.master.page.rows import Row, Rows
    from latent_libvirt.status.past import SlotUse


class PoolPage:
    """What the pool called *name* has to do with the page "VMs" of each master's web UI."""

    def __init__(self, master: Any, name: str, operations: Operations) -> None:
        self._master = master
        self._name = name
        self._operations = operations
        self._ended: dict[str, tuple[SlotUse, Row]] = {}
        self._publisher = Publisher(master, name, self._rows)
        self._commands = CommandServer(master, name, operations)
        self._terminals = TerminalServer(master, name, operations)
        self._screens = ScreenServer(master, name, operations)

    def _rows(self) -> Rows:
        operations = self._operations
        uses = operations.slot_uses()
        made = rows(operations.status(), time.time(), [use for use in uses if not use.ended])
        self._ended = {use.vm_id: self._row(use) for use in uses if use.ended}
        made["uses"] |= {key: row for key, (_use, row) in self._ended.items()}
        return made

    def _row(self, use: SlotUse) -> tuple[SlotUse, Row]:
        """Return the row of a VM that has ended, made once: there are thousands."""
        known = self._ended.get(use.vm_id)
        return known if known is not None and known[0] is use else (use, row_of(use))

    def start(self) -> None:
        """Begin to listen, in the background: a pool does not wait for a message bus."""
        terminal.offer(self._master, self._name, self._operations)
        for part in (self._publisher, self._commands, self._terminals, self._screens):
            in_background(part.start(), "the page of VMs cannot listen")

    async def stop(self) -> None:
        """Say on the pages that the pool stops, and listen no longer."""
        terminal.withdraw(self._master, self._name)
        await self._screens.stop()
        await self._terminals.stop()
        await self._commands.stop()
        await self._publisher.stop()
