# SPDX-License-Identifier: GPL-2.0-only
"""Way of the worker to its master: the virtio-serial port, in the worker's reactor.

Nothing stands between the worker and the port, for each turn of another process costs an emulated
guest as much as the message. What the channel loses is sent again. If nobody is at the other end
for :data:`~.device.MASTER_GONE` seconds, the port is closed. Then the worker finds no master, and
gives up.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from twisted.internet import defer, error

from .device import ACKNOWLEDGE_AFTER, LOOK_AGAIN, MASTER_GONE, is_hung_up, read_all
from .frames import CLOSE, DATA, OPEN, Message
from .transport import ChannelAddress, ChannelTransport

if TYPE_CHECKING:
    from .guest_link import GuestLink


class WorkerPort:
    """An open port, to Twisted a reader, a writer and a client's endpoint.

    It leads one connection at a time.

    :param link: the guest's end of it.
    :param port: the descriptor of the open virtio-serial port.
    """

    def __init__(
        self, link: GuestLink, port: int, *, reactor: Any, master_gone: float = MASTER_GONE
    ) -> None:
        self._link = link
        self._port = port
        self._reactor = reactor
        self._master_gone = master_gone
        self._output: bytes | memoryview = b""
        self._openings = 0
        self._alone_since: float | None = time.monotonic()
        self._is_hung_up = False
        self._is_looking = False
        self._is_receiving = False
        self._is_writing = False
        self._acknowledges_soon = False
        self._number = 0
        self._transport: ChannelTransport | None = None
        os.set_blocking(port, False)
        reactor.addReader(self)
        self._look_later()

    # What an endpoint does.

    def connect(self, factory: Any) -> Any:
        """Begin a connection; return a Deferred with its protocol."""
        protocol = None if self._port < 0 else factory.buildProtocol(ChannelAddress("master", 0))
        if protocol is None:
            return defer.fail(error.ConnectionRefusedError())  # type: ignore[no-untyped-call]
        self._number += 1
        self._transport = ChannelTransport(
            ChannelAddress("master", self._number),
            has_output=self._flush,
            done=self._link.consumed,
            closed=self._close,
            reactor=self._reactor,
        )
        self._link.send(Message(OPEN, self._number))
        self._transport.connect(protocol)
        self._flush()
        return defer.succeed(protocol)

    def _close(self) -> None:
        """Let the master know that this end has closed the connection."""
        self._transport = None
        self._link.send(Message(CLOSE, self._number))
        self._flush()

    # What the reactor asks.

    def fileno(self) -> int:
        """Return the port's descriptor."""
        return self._port

    def logPrefix(self) -> str:  # noqa: N802 - Twisted's
        """Return what the log calls it."""
        return "worker's channel"

    def doRead(self) -> None:  # noqa: N802 - Twisted's
        """Read what there is, and write what answers it all at once."""
        data, is_open = read_all(self._port)
        if data:
            self._is_receiving = True
            try:
                self._received(data)
            finally:
                self._is_receiving = False
            self._flush()
            self._acknowledge_later()
        if not is_open:
            self._hang_up()

    def doWrite(self) -> None:  # noqa: N802 - Twisted's
        """Go on with what the port has not taken."""
        self._flush()

    def connectionLost(self, _reason: object) -> None:
        """Wait until somebody is at the other end again."""
        self._hang_up()

    # The port.

    def _received(self, data: bytes) -> None:
        messages = self._link.received(data)
        if self._link.openings > self._openings:
            self._openings = self._link.openings
            self._alone_since = None
            self._output = b""  # of the time before the cut; the link sends it again
        for message in messages:
            self._take(message)

    def _take(self, message: Message) -> None:
        transport = self._transport if message.connection == self._number else None
        if transport is not None and message.kind == DATA:
            transport.received(message.payload)  # which says when it has done with it
            return
        self._link.consumed()
        if transport is not None and message.kind == CLOSE:
            self._transport = None
            transport.lost(cleanly=True)

    def _flush(self) -> None:
        """Write as much as the window and the port allow."""
        if self._is_receiving or self._is_hung_up or self._port < 0:
            return
        while (self._output or self._fill_output()) and self._write_some():
            pass
        transport = self._transport
        waits = bool(self._output) and not self._is_hung_up
        if waits != self._is_writing:
            self._wait_to_write(waits)
        if transport is not None and transport.disconnecting:
            transport.has_been_sent()

    def _write_some(self) -> bool:
        """Write what the port takes; return whether there may be more for it."""
        output = self._output
        try:
            count = os.write(self._port, output)
        except BlockingIOError:
            return False
        except OSError:
            self._hang_up()
            return False
        if count < len(output):
            self._output = memoryview(output)[count:]
            return True
        self._output = b""
        transport = self._transport
        return transport is not None and bool(transport.dataBuffer)

    def _fill_output(self) -> bool:
        """Take what can be sent; return whether that is anything."""
        transport, link = self._transport, self._link
        if transport is not None and transport.dataBuffer and link.has_room:
            link.send(Message(DATA, self._number, transport.take(link.payload)))
        self._output = link.take_output()
        return bool(self._output)

    def _wait_to_write(self, waits: bool) -> None:  # noqa: FBT001
        self._is_writing = waits
        change = self._reactor.addWriter if waits else self._reactor.removeWriter
        change(self)

    # Acknowledgements.

    def _acknowledge_later(self) -> None:
        """Acknowledge what the worker's next words do not, if they come late."""
        if self._link.owes and not self._acknowledges_soon:
            self._acknowledges_soon = True
            self._reactor.callLater(ACKNOWLEDGE_AFTER, self._acknowledge)

    def _acknowledge(self) -> None:
        self._acknowledges_soon = False
        self._link.acknowledge()
        self._flush()

    # A master that has gone.

    def _hang_up(self) -> None:
        if self._port < 0:
            return
        self._is_hung_up = True
        self._wait_to_write(False)
        self._reactor.removeReader(self)
        if self._alone_since is None:
            self._alone_since = time.monotonic()
        self._look_later()

    def _look_later(self) -> None:
        if not self._is_looking:
            self._is_looking = True
            self._reactor.callLater(LOOK_AGAIN, self._look)

    def _look(self) -> None:
        """See whether somebody is at the other end, and for how long nobody has been."""
        self._is_looking = False
        if self._alone_since is None:
            return
        if time.monotonic() - self._alone_since > self._master_gone:
            self._give_up()
            return
        if self._is_hung_up and not is_hung_up(self._port):
            self._is_hung_up = False
            self._reactor.addReader(self)
            self._flush()
        self._look_later()

    def _give_up(self) -> None:
        self._reactor.removeReader(self)
        self._wait_to_write(False)
        port, self._port = self._port, -1
        os.close(port)
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.lost(cleanly=False)
