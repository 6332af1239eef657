# SPDX-License-Identifier: GPL-2.0-only
"""The channels of one host's workers: opened, opened again after a cut, and bounded.

They have a connection to libvirt that nothing else uses, and one thread. What a guest does with its
channel holds up no other call on that host. libvirt's client keeps whatever a guest writes until it
is read, so everything is read, on libvirt's event loop. A guest that writes more than its window is
cut off there and then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import libvirt
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater
from twisted.logger import Logger

from latent_libvirt.backoff import Backoff
from latent_libvirt.deferreds import in_background
from latent_libvirt.errors import GuestError, HostError, LatentLibvirtError
from latent_libvirt.guest.launcher.link.device import MASTER_GONE
from latent_libvirt.guest.launcher.link.frames import TO_MASTER, LinkError
from latent_libvirt.host.guests.streams import StreamReader, open_channel
from latent_libvirt.host.libvirtd import opening
from latent_libvirt.host.libvirtd.call_threads import Calls
from latent_libvirt.host.names import WORKER_CHANNEL_NAME
from latent_libvirt.timers import passed

if TYPE_CHECKING:
    from latent_libvirt.host.channels.network_link import NetworkLink
    from latent_libvirt.host.channels.worker_link import WorkerLink

log = Logger()

FindDomain = Callable[[libvirt.virConnect], libvirt.virDomain | None]

MOST_UNREAD = 4 * TO_MASTER.bytes
"""Bytes of one guest that the reactor has not taken yet. A guest that keeps to its window has two
windows under way after a cut, at most, besides what the frames need."""

GIVE_UP = MASTER_GONE - 60.0
"""Seconds for which a channel is opened again and again. The guest waits longer for that."""

_BACKOFF = Backoff(first=0.2, longest=5.0)


class _Opened:
    """One opening of one channel."""

    def __init__(self, line: Line, *, reactor: Any) -> None:
        self.stream: libvirt.virStream | None = None
        self.reader: StreamReader | None = None
        self._line = line
        self._reactor = reactor
        self._lock = threading.Lock()
        self._pieces: list[bytes] = []  # that the reactor has not taken yet
        self._unread = 0

    # On libvirt's event loop.

    def received(self, data: bytes) -> bool:
        """Take what the guest has written; return whether to read on."""
        with self._lock:
            self._unread += len(data)
            fits = self._unread <= MOST_UNREAD
            if fits:
                self._pieces.append(data)
            is_first = len(self._pieces) == 1
        if fits and is_first:
            self._reactor.callFromThread(self._deliver)  # which takes those that follow, too
        if not fits:
            self._reactor.callFromThread(self._line.link.end, "the guest floods it")
            self._reactor.callFromThread(self._line.close)
        return fits

    def ended(self) -> None:
        """Note that the stream has ended."""
        self._reactor.callFromThread(self._line.was_cut, self)

    # On the reactor's thread.

    def _deliver(self) -> None:
        with self._lock:
            pieces, self._pieces = self._pieces, []
            self._unread = 0
        if self._line.opened is self:
            self._line.received(b"".join(pieces))

    # In the thread for channels.

    def write(self, data: bytes) -> None:
        """Write *data*; have the channel opened again if it cannot be written."""
        assert self.stream is not None
        try:
            while data and (sent := self.stream.send(data)) > 0:
                data = data[sent:]
        except libvirt.libvirtError:
            pass  # the channel or the connection is gone
        if data:
            self.ended()

    def close(self) -> None:
        """Give the stream back."""
        if self.reader is not None:
            self.reader.close()


class Line:
    """The channel of one VM, for as long as its worker needs it.

    :param find: returns the domain; called in a thread.
    """

    def __init__(
        self, channels: WorkerChannels, link: WorkerLink | NetworkLink, find: FindDomain
    ) -> None:
        self.link = link
        self.find = find
        self.opened: _Opened | None = None
        self._channels = channels
        self._is_closed = False
        self._tries = 0  # to open it again, since the guest's last welcome

    async def open(self) -> None:
        """Open the channel.

        :raises GuestError: the VM has ended.
        :raises HostError: the host cannot be reached, or refuses.
        """
        opened = self.opened = _Opened(self, reactor=self._channels.reactor)
        try:
            await self._channels.open(self, opened)
        except BaseException:
            if self.opened is opened:
                self._hang_up()
            raise
        if self.opened is opened:  # it has been neither closed nor cut since
            self.link.opened(partial(self._write, opened))

    def received(self, data: bytes) -> None:
        """Take what the guest has written."""
        try:
            self.link.received(data)
        except LinkError as error:
            self.end(str(error))
        except Exception:  # noqa: BLE001 - a guest that finds a flaw of ours harms itself alone
            log.failure("{name}: what the guest says cannot be handled", name=self.link.name)
            self.end("what the guest says cannot be handled; the log has the traceback")

    def _write(self, opened: _Opened, data: bytes) -> None:
        self._channels.calls().run_unheard(opened.write, data)

    def was_cut(self, opened: _Opened) -> None:
        """Open the channel again, after it was closed by somebody else.

        That is at once if the guest had said its welcome. A channel that is closed again and again
        before that is opened less and less often.
        """
        if self.opened is not opened:
            return
        self._hang_up()
        if self.link.is_open:
            self._tries = 0
        self.link.cut()
        in_background(self._open_again(), self.link.name)

    async def _open_again(self) -> None:
        began = passed(self._channels.reactor)
        await self._pause()
        while not self._is_closed:
            self._tries += 1
            try:
                await self.open()
                break
            except GuestError as error:
                self.end(error.brief)
            except HostError as error:
                if passed(self._channels.reactor) - began > GIVE_UP:
                    self.end(str(error))
            await self._pause()

    async def _pause(self) -> None:
        """Wait, if tries have led to no welcome."""
        if self._tries and not self._is_closed:
            await deferLater(self._channels.reactor, _BACKOFF.after(self._tries), lambda: None)

    def end(self, reason: str) -> None:
        """End the worker's connection: it has no channel any more."""
        self.link.end(reason)
        self.close()

    def close(self) -> None:
        """Close the channel; the worker's connection ends with it. Does not wait."""
        self._is_closed = True
        self._hang_up()
        self.link.end()
        self._channels.forget(self)

    def _hang_up(self) -> None:
        opened, self.opened = self.opened, None
        if opened is not None:
            in_background(self._channels.later(opened.close), self.link.name)


class WorkerChannels:
    """All channels of one kind and host.

    :param host: its name, for messages.
    :param connect: opens another connection to its libvirt; blocks.
    :param port: the virtio-serial port that they lead to.
    """

    def __init__(
        self,
        host: str,
        connect: Callable[[], libvirt.virConnect],
        *,
        port: str = WORKER_CHANNEL_NAME,
        reactor: Any,
    ) -> None:
        self.reactor = reactor
        self._port = port
        self._host = host
        self._connect = connect
        self._lines: set[Line] = set()
        self._calls: Calls | None = None
        self._connection: libvirt.virConnect | None = None

    async def line(self, link: WorkerLink | NetworkLink, find: FindDomain) -> Line:
        """Open the channel of a VM.

        :param find: returns the domain; called in a thread.
        :raises GuestError: the VM has ended.
        :raises HostError: the host cannot be reached, or refuses.
        """
        line = Line(self, link, find)
        self._lines.add(line)
        try:
            await line.open()
        except BaseException:
            line.close()
            raise
        return line

    def forget(self, line: Line) -> None:
        """Note that a channel was closed for good."""
        self._lines.discard(line)

    async def open(self, line: Line, opened: _Opened) -> None:
        """Open the channel of *line*.

        :raises GuestError: the VM has ended.
        :raises HostError: the host cannot be reached, or refuses.
        """
        what = f"host {self._host} could not open channel {self._port} of {line.link.name}"
        try:
            await self.later(self._open, line, opened)
        except (LatentLibvirtError, CancelledError):
            raise
        except Exception as error:  # whatever a host returns, it is tried again
            raise HostError(what, details=f"{type(error).__name__}: {error}") from error

    def later(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call *function* in the thread for channels; return a Deferred."""
        return self.calls().run(function, *arguments)

    def calls(self) -> Calls:
        """Return the calls in the thread for channels, which has been started."""
        if self._calls is None:
            self._calls = Calls(f"channels of {self._host}", reactor=self.reactor, threads=1)
            self._calls.start()
        return self._calls

    def stop(self) -> None:
        """Close all channels and the connection, in the background."""
        for line in tuple(self._lines):
            line.close()
        calls, self._calls = self._calls, None
        if calls is not None:
            calls.run(self._disconnect).addBoth(lambda _: calls.give_up())

    # In the thread for channels.

    def _open(self, line: Line, opened: _Opened) -> None:
        connection = self._usable_connection()
        domain = line.find(connection)
        if domain is None:
            raise GuestError(f"VM {line.link.name} has ended")
        opened.stream = open_channel(domain, self._port)
        opened.reader = StreamReader(opened.stream, opened.received, opened.ended)

    def _usable_connection(self) -> libvirt.virConnect:
        connection = self._connection
        if connection is None or not connection.isAlive():
            self._disconnect()
            connection = self._connection = self._connect()
            connection.registerCloseCallback(self._closed, None)
        return connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            opening.close(connection)

    # On libvirt's event loop.

    def _closed(self, _connection: libvirt.virConnect, _reason: int, _opaque: object) -> None:
        self.reactor.callFromThread(self._cut_all)

    def _cut_all(self) -> None:
        for line in tuple(self._lines):
            if line.opened is not None:
                line.was_cut(line.opened)
