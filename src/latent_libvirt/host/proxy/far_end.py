# SPDX-License-Identifier: GPL-2.0-only
"""The connection from the master to a destination, with its producers on both sides."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer


@implementer(IPushProducer)
class FarEnd(Protocol):
    """One connection.

    :param owner: has ``far_received``, ``far_ended`` and ``far_has_room``.
    :ivar is_full: whether what was written waits to be sent, so that no more should be written.
    """

    def __init__(self, owner: Any) -> None:
        self._owner = owner
        self.is_full = False
        self.is_connected = False
        self._is_paused = False

    def connectionMade(self) -> None:
        """Begin to listen to what the transport says of its buffer."""
        self.is_connected = True
        self._transport.registerProducer(self, True)

    @property
    def _transport(self) -> Any:
        return self.transport

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's
        """Pass on what has come."""
        self._owner.far_received(self, data)

    def connectionLost(self, _reason: Failure = connectionDone) -> None:
        """Pass on that there will be no more."""
        self.is_connected = False
        self._owner.far_ended(self)

    def write(self, data: bytes) -> None:
        """Send *data*."""
        if data and self.is_connected:
            self._transport.write(data)

    def hold(self, *, held: bool) -> None:
        """Read no more for a while, or go on."""
        if held != self._is_paused and self.is_connected:
            self._is_paused = held
            if held:
                self._transport.pauseProducing()
            else:
                self._transport.resumeProducing()

    def close(self) -> None:
        """End the connection when all is sent."""
        if self.is_connected:
            self._transport.unregisterProducer()
            self._transport.loseConnection()

    def drop(self) -> None:
        """End the connection now."""
        if self.is_connected:
            self._transport.abortConnection()

    # What the transport asks of those who write to it.

    def pauseProducing(self) -> None:
        """Note that its buffer is full."""
        self.is_full = True

    def resumeProducing(self) -> None:
        """Note that there is room again."""
        self.is_full = False
        self._owner.far_has_room()

    def stopProducing(self) -> None:
        """Do nothing: the end of the connection comes, too."""
