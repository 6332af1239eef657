# SPDX-License-Identifier: GPL-2.0-only
"""The master's end of one VM's link, between its channel and the protocol for workers.

Everything here happens on the reactor's thread. How the channel is opened, and opened again, is in
``worker_channels.py``, and what a frame is in ``guest/launcher/link/frames.py``.
"""

from __future__ import annotations

from typing import Any

from latent_libvirt.guest.launcher.link.frames import (
    CLOSE,
    CREDIT,
    DATA,
    OPEN,
    LinkError,
    Message,
)
from latent_libvirt.guest.launcher.link.transport import ChannelAddress, ChannelTransport
from latent_libvirt.host.channels.channel_end import ChannelEnd


class WorkerLink(ChannelEnd):
    """The link of one VM.

    :param name: the VM, for people.
    :param session: that its guest is given, too.
    :param factory: of Twisted; makes the master's end of each of the worker's connections.
    """

    what = "the worker's channel"

    def __init__(self, name: str, session: str, factory: Any, *, reactor: Any) -> None:
        super().__init__(name, session, reactor=reactor)
        self._factory = factory
        self._transport: ChannelTransport | None = None

    def _end_connections(self) -> None:
        self._drop()

    def _take(self, message: Message) -> None:
        if message.kind == OPEN:
            self._open(message.connection)
            return
        if message.kind == CREDIT:
            raise LinkError("the guest gives credit, which a worker's connection has not")
        transport = self._transport if message.connection == self._newest else None
        if transport is not None and message.kind == DATA:
            transport.received(message.payload)  # which says when it has done with it
            return
        self._link.consumed()
        if transport is None:
            self._stray(message)
        elif message.kind == CLOSE:
            self._drop(cleanly=True)

    def _open(self, number: int) -> None:
        self._begin(number)
        self._drop()
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
            self._expect_strays()

    def _close(self) -> None:
        """Let the guest know that this end has closed the connection."""
        self._transport = None
        self._expect_strays()
        self._link.send(Message(CLOSE, self._newest))
        self._flush()

    def _flush(self) -> None:
        """Write as much as the window allows."""
        transport = self._transport
        output = self._link.take_output()
        while transport is not None and self._link.has_room and transport.dataBuffer:
            data = transport.take(self._link.payload)
            self._link.send(Message(DATA, self._newest, data))
            output += self._link.take_output()
        if output:
            self._write(output)
        if transport is not None and not transport.dataBuffer:
            transport.has_been_sent()
