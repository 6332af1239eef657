# SPDX-License-Identifier: GPL-2.0-only
"""The master's end of a link through a VM's channel, which may be cut and opened again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final

from twisted.logger import Logger

from latent_libvirt.guest.launcher.link.frames import MOST_CONNECTIONS, TO_MASTER, LinkError
from latent_libvirt.guest.master_link import MasterLink
from latent_libvirt.timers import passed

if TYPE_CHECKING:
    from latent_libvirt.guest.launcher.link.frames import Message

log = Logger()

OPEN_INTERVAL: Final = 0.02
"""Seconds between two new connections of a guest, on average. The window of its link holds up one
that opens more than :data:`TO_MASTER` has messages at once."""

_STRAYS: Final = 4 * TO_MASTER.messages
"""Messages of a connection that a guest may send after it has ended, and before it hears of that.

One window is under way. There is more if the news waits for room in the other window: messages that
go out before it acknowledge what has come since.
"""


class ChannelEnd(ABC):
    """What all links have, whatever their connections carry.

    :param name: of the VM, for the log.
    :param session: what the guest proves that it is the same by.
    """

    what: ClassVar[str]
    """The channel, in words for the log."""

    def __init__(self, name: str, session: str, *, reactor: Any) -> None:
        self.name = name
        self.is_over = False
        """Whether it was ended, by whichever side."""
        self._link = MasterLink(session)
        self._reactor = reactor
        self._newest = 0  # the largest number of a connection
        self._next_open = 0.0
        self._strays = 0  # that may still come
        self._write: Callable[[bytes], None] = _nowhere

    @property
    def is_open(self) -> bool:
        """Whether the guest has said its welcome since the channel was opened."""
        return self._link.is_open

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
        """End all connections; there will be no others.

        :param reason: why, for the log; nothing if that is no news.
        """
        if self.is_over:
            return
        self.is_over = True
        if reason:
            log.warn(
                "{name}: {what} is given up: {reason}",
                name=self.name,
                what=self.what,
                reason=reason,
            )
        self.cut()
        self._end_connections()

    def received(self, data: bytes) -> None:
        """Take what the guest has written.

        :raises LinkError: it has broken the rules.
        """
        if self.is_over:
            return
        for message in self._link.received(data):
            if not self.is_over:  # one of them may have ended it
                self._take(message)
        self._flush()

    def _begin(self, number: int) -> None:
        """Note that the guest opens a connection.

        :raises LinkError: there was one of that number.
        """
        if number <= self._newest:
            raise LinkError("the guest opens a connection twice")
        self._newest = number
        self._consume_in_time()

    def _consume_in_time(self) -> None:
        """Have done with a message that opens a connection no sooner than a guest may open one."""
        now = passed(self._reactor)
        self._next_open = max(now, self._next_open) + OPEN_INTERVAL
        self._reactor.callLater(self._next_open - now, self._consumed)

    def _consumed(self) -> None:
        self._link.consumed()
        if not self.is_over:
            self._flush()

    def _expect_strays(self) -> None:
        """Note that a connection has ended, which the guest may not know yet."""
        self._strays = min(self._strays + _STRAYS, MOST_CONNECTIONS * _STRAYS)

    def _stray(self, message: Message) -> None:
        """Drop a message of a connection that has ended.

        :raises LinkError: there was none, or the guest has heard of its end.
        """
        self._strays -= 1
        if message.connection > self._newest or self._strays < 0:
            raise LinkError("the guest sends messages of a connection that there is not")

    @abstractmethod
    def _take(self, message: Message) -> None:
        """Act on a message of the guest."""

    @abstractmethod
    def _flush(self) -> None:
        """Send what can be sent."""

    @abstractmethod
    def _end_connections(self) -> None:
        """End them all."""


def _nowhere(_data: bytes) -> None:
    """Write nothing while the channel is cut."""
