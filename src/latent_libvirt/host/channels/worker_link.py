# SPDX-License-Identifier: GPL-2.0-only
"""The master's end of one VM's link, between its channel and the protocol for workers.

Everything here happens on the reactor's thread. How the channel is opened, and opened again, is in
``worker_channels.py``, and what a frame is in ``guest/channel_link.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from latent_libvirt.guest.channel_link import (
    CLOSE,
    DATA,
    OPEN,
    MasterLink,
    Message,
)
from latent_libvirt.host.channels.transport import ChannelAddress, ChannelTransport

log = Logger()


class WorkerLink:
    """The link of one VM.

    :param name: the VM, for people.
    :param session: that its guest is given, too.
    :param factory: of Twisted; makes the master's end of each of the worker's connections.
    """

    def __init__(self, name: str, session: str, factory: Any, *, reactor: Any) -> None:
        self.name = name
        self.is_over = False
        """Whether it was ended, by whichever side."""
        self._factory = factory
        self._reactor = reactor
        self._link = MasterLink(session)
        self._write: Callable[[bytes], None] = _nowhere
        self._transport: ChannelTransport | None = None
        self._number = 0

    def opened(self, write: Callable[[bytes], None]) -> None:
        """Go on through a channel that was opened, for the first time or again.

        :param write: writes to it, or keeps it for later.
        """
        self._write = write
        self._link.opened()
        self._flush()

    def cut(self) -> None:
        """Wait: the channel is closed, and is opened again."""
        self._write = _nowhere
        self._link.cut()

    def end(self, reason: str = "") -> None:
        """End the worker's connection; there will be no other.

        :param reason: why, for the log; nothing if that is no news.
        """
        if self.is_over:
            return
        self.is_over = True
        if reason:
            log.warn(
                "{name}: the worker's channel is given up: {reason}", name=self.name, reason=reason
            )
        self.cut()
        self._drop()

    def received(self, data: bytes) -> None:
        """Take what the guest has written.

        :raises LinkError: it has broken the rules.
        """
        if self.is_over:
            return
        for message in self._link.received(data):
            self._take(message)
        self._flush()

    def _take(self, message: Message) -> None:
        if message.kind == OPEN and message.connection > self._number:
            self._link.consumed()
            self._open(message.connection)
        elif message.kind == DATA and message.connection == self._number and self._transport:
            self._transport.received(message.payload)  # which says when it has done with it
        else:
            self._link.consumed()
            if message.kind == CLOSE and message.connection == self._number:
                self._drop(cleanly=True)

    def _open(self, number: int) -> None:
        self._drop()
        self._number = number
        address = ChannelAddress(self.name, number)
        transport = ChannelTransport(
            address,
            has_output=self._flush,
            done=self._link.consumed,
            closed=self._close,
            reactor=self._reactor,
        )
        protocol = self._factory.buildProtocol(address)
        if protocol is None:
            self._close()
            return
        self._transport = transport
        transport.connect(protocol)

    def _drop(self, *, cleanly: bool = False) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.lost(cleanly=cleanly)

    def _close(self) -> None:
        """Let the guest know that this end has closed the connection."""
        self._transport = None
        self._link.send(Message(CLOSE, self._number))
        self._flush()

    def _flush(self) -> None:
        """Write as much as the window allows."""
        transport = self._transport
        output = self._link.take_output()
        while transport is not None and self._link.has_room and transport.dataBuffer:
            data = transport.take(self._link.payload)
            self._link.send(Message(DATA, self._number, data))
            output += self._link.take_output()
        if output:
            self._write(output)
        if transport is not None and not transport.dataBuffer:
            transport.has_been_sent()


def _nowhere(_data: bytes) -> None:
    """Drop what cannot be written; the link sends it again."""
