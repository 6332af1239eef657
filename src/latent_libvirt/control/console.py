# SPDX-License-Identifier: GPL-2.0-only
"""One operator at one VM's console, on the master's side: between a connection and the VM.

Which VM is decided in ``vms.py``, how its console is read and written in
``host/guests/console.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from zope.interface import implementer

from latent_libvirt.control.frames import ANOTHER, CLOSE, Frame, Kind
from latent_libvirt.control.messages import LONGEST_USER, ConsoleOpened
from latent_libvirt.control.quiet import Quiet
from latent_libvirt.control.recording import Recording
from latent_libvirt.control.typed import Typed
from latent_libvirt.deferreds import in_background
from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.plain_text import as_text

if TYPE_CHECKING:
    from latent_libvirt.host.guests.console import (
        Console,
        Watch,
    )
    from latent_libvirt.host.guests.guest import Guest
    from latent_libvirt.status.names import VmNames

log = Logger()

FULL: Final = "the recording of this terminal is full; open the terminal again to go on"

CLOSED: Final = f"{{who}} has left a terminal of this VM, which closes the shell for all. {ANOTHER}"

FLOODED: Final = "more was typed than the guest takes; open the terminal again to go on"


class HasConsole(Protocol):
    """The part that a session needs of a :class:`~latent_libvirt.host.domains.machine.Machine`."""

    @property
    def guest(self) -> Guest:
        """What is known of what runs in it."""

    async def write_to_console(self, data: bytes) -> None:
        """Write *data* to its console."""


@dataclass(frozen=True)
class Vm:
    """A VM that an operator may ask for.

    :param recorded: takes the recording of a session that may type; ``None`` to record nothing.
    """

    names: VmNames
    machine: HasConsole
    recorded: Callable[[bytes], None] | None = None


@implementer(IPushProducer)
class ConsoleSession:
    """Carries a console over a connection, from :meth:`begin` until either of them ends.

    :param read_only: ignore what is typed.
    :param user: what the operator is called, empty if that is not known.
    """

    def __init__(self, vm: Vm, *, read_only: bool, user: str = "") -> None:
        self._vm = vm
        self._user = as_text(user)[:LONGEST_USER]
        self._read_only = read_only
        self._transport: Any = None
        self._watch: Watch | None = None
        self._paused = False
        self._recording: Recording | None = None
        self._typed = Typed()
        self._is_typing = False

    @property
    def result(self) -> ConsoleOpened:
        """What is answered before the console begins."""
        return ConsoleOpened(str(self._vm.names), read_only=self._read_only)

    @property
    def _console(self) -> Console:
        return self._vm.machine.guest.console

    def begin(self, transport: Any) -> None:
        """Send what the console said last, then what it says."""
        log.info("the console of {vm} is opened", vm=str(self._vm.names))
        self._transport = transport
        if self._vm.recorded is not None and not self._read_only:
            title = str(self._vm.names)
            self._recording = Recording(title, at=time.time(), clock=time.monotonic)
        self._watch = self._console.watch(self._send)
        transport.registerProducer(self, streaming=True)
        self._send()

    def received(self, data: bytes) -> None:
        """Take what was typed; no more until the guest has it.

        After the end of the session the shell may still be ended, and nothing else typed.
        """
        if self._read_only or (self._watch is None and data != CLOSE):
            return
        if self._watch is not None:
            self._transport.pauseProducing()
        has_room = self._typed.add(data)
        if not self._is_typing:
            in_background(self._type(), f"console of {self._vm.names}")
        if not has_room and self._watch is not None:
            self._finish(Kind.CLOSED, FLOODED)

    def resized(self, columns: int, rows: int) -> None:
        """Note the size of the operator's terminal, for the recording."""
        if self._recording is not None:
            self._recording.resize(columns, rows)
            self._end_if_unrecorded()

    async def _type(self) -> None:
        """Write one piece after the other, then let the connection read again."""
        self._is_typing = True
        try:
            while (piece := self._typed.pop()) is not None:
                await self._try_to_write(piece)
        finally:
            self._is_typing = False
            if self._watch is not None:
                self._transport.resumeProducing()

    async def _try_to_write(self, data: bytes) -> None:
        try:
            await self._write(data)
        except LatentLibvirtError as error:
            self._tell(Kind.NOTICE, error.brief)

    async def _write(self, data: bytes) -> None:
        """Write *data*. A shell loses what comes with a Ctrl-C, so Ctrl-D comes later."""
        write = self._vm.machine.write_to_console
        if not data.endswith(CLOSE):
            await write(data)
            return
        with Quiet(self._console) as quiet:
            await write(data[:-1])
            self._announce_close()
            await quiet.wait()
        await write(data[-1:])

    def _announce_close(self) -> None:
        """Let all others at the console know who has left, before they see the end of the shell."""
        who = f"User {self._user}" if self._user else "Somebody"
        log.info("the shell of {vm} is closed: {who} leaves", vm=str(self._vm.names), who=who)
        self._console.notify(CLOSED.format(who=who), besides=self._watch)

    def lost(self) -> None:
        """Note that the connection is gone. What waits to be typed is dropped, but for the end."""
        self._typed.keep_only_close()
        watch, self._watch = self._watch, None
        if watch is not None:
            self._console.unwatch(watch)
            log.info("the console of {vm} is closed", vm=str(self._vm.names))
        recording, self._recording = self._recording, None
        if recording is not None and self._vm.recorded is not None:
            self._vm.recorded(recording.value())

    # What the connection asks, so that it need not keep what its other end does not read.

    def pauseProducing(self) -> None:
        """Send nothing for now."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Go on."""
        self._paused = False
        self._send()

    def stopProducing(self) -> None:
        """Send nothing any more."""
        self._paused = True

    def _send(self) -> None:
        while self._watch is not None and not self._paused and (output := self._watch.take()):
            if output.dropped:
                self._tell(Kind.NOTICE, f"... {output.dropped} bytes dropped")
            if self._recording is not None:
                self._recording.add(output.data)
                if self._end_if_unrecorded():
                    return
            self._transport.write(bytes(Frame(Kind.OUTPUT, output.data)))
        if self._watch is not None and not self._paused:
            for notice in self._watch.take_notices():
                self._tell(Kind.NOTICE, notice)
        if self._watch is not None and not self._paused and self._watch.end:
            self._finish(Kind.END, self._watch.end)

    def _end_if_unrecorded(self) -> bool:
        """End the session if its recording is full: nobody is to act where it does not show."""
        is_full = self._recording is not None and self._recording.is_full
        if is_full:
            self._finish(Kind.CLOSED, FULL)
        return is_full

    def _finish(self, kind: Kind, reason: str) -> None:
        self._tell(kind, reason)
        transport = self._transport
        self.lost()
        transport.unregisterProducer()
        transport.loseConnection()

    def _tell(self, kind: Kind, text: str) -> None:
        if self._watch is not None:
            self._transport.write(bytes(Frame(kind, text.encode())))
