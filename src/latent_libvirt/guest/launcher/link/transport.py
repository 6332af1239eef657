# SPDX-License-Identifier: GPL-2.0-only
"""A transport of Twisted's for one connection of a worker that comes through a channel.

The master's own protocol speaks through it, as it does through a TCP connection. So the guard of
the port for workers counts and bounds what comes through a channel, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress, ITransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

log = Logger()


@implementer(IAddress)
@dataclass(frozen=True)
class ChannelAddress:
    """The other end of a channel.

    :param host: the VM, for people.
    :param port: the number of the connection.
    """

    host: str
    port: int


@implementer(ITransport)
class ChannelTransport:
    """One connection.

    :param has_output: called when there is something to send.
    :param done: called for each piece of data that the protocol has done with.
    :param closed: called when this end has closed the connection.
    """

    def __init__(
        self,
        address: ChannelAddress,
        *,
        has_output: Callable[[], None],
        done: Callable[[], None],
        closed: Callable[[], None],
        reactor: Any,
    ) -> None:
        # The guard of the port measures it, as it does Twisted's. A lone message is not copied.
        self.dataBuffer: bytes | bytearray = b""
        self.disconnecting = False
        self._address = address
        self._has_output = has_output
        self._done = done
        self._closed = closed
        self._reactor = reactor
        self._protocol: Any = None
        self._is_paused = False
        self._is_connected = True
        self._incoming: deque[bytes] = deque()

    def connect(self, protocol: Any) -> None:
        """Let *protocol* speak."""
        self._protocol = protocol
        protocol.makeConnection(self)

    # What the link asks.

    def received(self, data: bytes) -> None:
        """Give the protocol *data* when it takes some."""
        self._incoming.append(data)
        self._deliver()

    def lost(self, *, cleanly: bool) -> None:
        """End the connection: the other end has, or there is no way to it any more."""
        self._end(ConnectionDone() if cleanly else ConnectionLost())

    def take(self, most: int) -> bytes:
        """Return what is to be sent, *most* bytes at most."""
        if len(self.dataBuffer) <= most:
            data, self.dataBuffer = bytes(self.dataBuffer), b""
            return data
        buffer = self._growing_buffer()
        data = bytes(memoryview(buffer)[:most])
        del buffer[:most]
        return data

    def _growing_buffer(self) -> bytearray:
        """Return the buffer as one that loses and gains pieces without a copy of the rest."""
        if not isinstance(self.dataBuffer, bytearray):
            self.dataBuffer = bytearray(self.dataBuffer)
        return self.dataBuffer

    def has_been_sent(self) -> None:
        """Close the connection if it was to be closed after the last byte."""
        if self.disconnecting and not self.dataBuffer and self._is_connected:
            self._close(ConnectionDone())

    def _deliver(self) -> None:
        while self._incoming and not self._is_paused and self._is_connected:
            data = self._incoming.popleft()
            try:
                self._done()
                self._protocol.dataReceived(data)
            except Exception:  # noqa: BLE001 - as Twisted's reactor does
                log.failure("{address}: unexpected", address=self._address)
                self.abortConnection()

    def _close(self, reason: Exception) -> None:
        if self._is_connected:
            self._closed()
            self._end(reason)

    def _end(self, reason: Exception) -> None:
        """Tell the protocol, once, and not while it calls us."""
        if not self._is_connected:
            return
        self._is_connected = False
        self.dataBuffer = b""
        for _ in self._incoming:
            self._done()
        self._incoming.clear()
        self._reactor.callLater(0, self._tell, reason)

    def _tell(self, reason: Exception) -> None:
        if self._protocol is not None:
            self._protocol.connectionLost(Failure(reason))  # type: ignore[no-untyped-call]

    # What the protocol asks (ITransport and its kin).

    def write(self, data: bytes) -> None:
        """Send *data*."""
        if not self._is_connected or self.disconnecting or not data:
            return
        if self.dataBuffer:
            self._growing_buffer().extend(data)
        else:
            self.dataBuffer = data
        self._has_output()

    def writeSequence(self, data: Any) -> None:  # noqa: N802
        """Send all of *data*."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close the connection when all is sent."""
        if not self.disconnecting:
            self.disconnecting = True
            self.has_been_sent()

    def abortConnection(self) -> None:  # noqa: N802
        """Close the connection now."""
        self._close(ConnectionAborted())

    def getPeer(self) -> ChannelAddress:  # noqa: N802
        """Return which VM is at the other end."""
        return self._address

    def getHost(self) -> ChannelAddress:  # noqa: N802
        """Return the same: a channel has no address at this end."""
        return self._address

    def pauseProducing(self) -> None:
        """Give the protocol nothing for a while; the window of the link holds up the guest."""
        self._is_paused = True

    def resumeProducing(self) -> None:
        """Go on."""
        self._is_paused = False
        self._deliver()
        self._has_output()

    def stopProducing(self) -> None:
        """Close the connection."""
        self.loseConnection()

    def setTcpKeepAlive(self, enabled: bool) -> None:  # noqa: FBT001, N802 - Twisted's
        """Do nothing: the end of a VM is noticed in another way."""

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: FBT001, N802 - Twisted's
        """Do nothing: a channel delays nothing."""
