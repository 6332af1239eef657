# SPDX-License-Identifier: GPL-2.0-only
"""The serial console of one VM: what it said last, who watches it, and how one types there.

libvirt gives a console to one client at a time. This is that client, and everybody else watches
through it. The guest is hostile: it can fill a console faster than anybody reads, and need not
read from it. So who watches and does not keep up loses output, and what is typed goes over a
separate connection: libvirt takes only a few unfinished requests of a connection, and four
pieces that a guest does not read would hold up all VMs of the host.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import libvirt

from latent_libvirt.errors import GuestError
from latent_libvirt.host.guests.streams import (
    ConsoleTail,
    StreamReader,
    open_console,
)

BACKLOG_BYTES = 256 * 1024
"""What is kept for one who watches and does not keep up."""

MOST_NOTICES = 10
"""Notices that are kept for one who watches and does not keep up: the last ones."""

PIECE_BYTES = 1024
"""What is written before libvirtd has to answer that it has read it."""


@dataclass(frozen=True)
class Output:
    """What a console has said.

    :param dropped: bytes before *data* that have been dropped.
    """

    data: bytes
    dropped: int = 0


class Watch:
    """What one who watches a console has not taken yet.

    It is filled in any thread, and taken on the reactor's.

    :param ready: called on the reactor's thread when there is something, or the end has come.
    """

    def __init__(self, ready: Callable[[], None], *, reactor: Any) -> None:
        self._ready = ready
        self._reactor = reactor
        self._lock = threading.Lock()
        self._backlog = bytearray()
        self._dropped = 0
        self._told = False
        self._notices: deque[str] = deque(maxlen=MOST_NOTICES)
        self._end = ""

    @property
    def end(self) -> str:
        """Why nothing more will come, once all is taken; empty as long as something may."""
        return "" if self._backlog else self._end

    def put(self, data: bytes) -> None:
        """Add *data*; drop the oldest of what is too much."""
        with self._lock:
            self._backlog += data
            too_much = max(0, len(self._backlog) - BACKLOG_BYTES)
            del self._backlog[:too_much]
            self._dropped += too_much
            self._tell()

    def finish(self, reason: str) -> None:
        """Note that nothing more will come, and why."""
        with self._lock:
            self._end = self._end or reason
            self._tell()

    def note(self, text: str) -> None:
        """Add a notice of the master's."""
        with self._lock:
            self._notices.append(text)
            self._tell()

    def take_notices(self) -> list[str]:
        """Return the notices that have come since the last call."""
        with self._lock:
            notices = list(self._notices)
            self._notices.clear()
            return notices

    def take(self) -> Output | None:
        """Return all that there is; ``None`` if that is nothing."""
        with self._lock:
            if not self._backlog:
                return None
            output = Output(bytes(self._backlog), self._dropped)
            self._backlog.clear()
            self._dropped = 0
            return output

    def _tell(self) -> None:
        """Have *ready* called; once, however much comes until then."""
        if not self._told:
            self._told = True
            self._reactor.callFromThread(self._call_ready)

    def _call_ready(self) -> None:
        with self._lock:
            self._told = False
        self._ready()


@dataclass(frozen=True)
class _Line:
    """An open console.

    :param own: the connection that is there for it alone; ``None`` if it is the host's.
    """

    stream: libvirt.virStream
    reader: StreamReader
    own: libvirt.virConnect | None
    in_use: threading.Lock = field(default_factory=threading.Lock)
    """Held by the one thread that waits for an answer: of several, libvirt (9.0) wakes only the
    first when keepalive gives the connection up."""

    @property
    def can_be_typed_on(self) -> bool:
        return self.own is not None and bool(self.own.isAlive())

    def close(self) -> None:
        """Give the console back, in a separate thread.

        libvirtd notices that only once the guest has read what was typed, which may be never.
        Who takes the console next waits for that, but not for ever: then libvirtd takes it from us.
        """
        threading.Thread(target=self._close, daemon=True).start()

    def _close(self) -> None:
        with self.in_use:
            self.reader.close()
        if self.own is not None:
            with contextlib.suppress(libvirt.libvirtError):
                self.own.close()

    def send(self, data: bytes) -> None:
        """Write *data*, and wait until libvirtd has read all but the last few pieces.

        The host's end of keepalive is the deadline: who does not answer is disconnected.
        """
        assert self.own is not None
        with self.in_use:
            while data:
                sent = self.stream.send(data[:PIECE_BYTES])
                self.own.getLibVersion()
                data = data[max(sent, 0) :]


class Console:
    """The console of one VM, for as long as that exists.

    :param name: the domain's name, for messages.
    """

    def __init__(self, name: str, *, reactor: Any) -> None:
        self.lost: Callable[[], None] = _nothing
        """Called on the reactor's thread when the console has to be opened again."""
        self.reactor = reactor
        self._name = name
        self._reactor = reactor
        self._tail = ConsoleTail()
        self._watches: set[Watch] = set()
        self._lock = threading.Lock()
        self._line: _Line | None = None
        self._closed = False
        self._opening = threading.Lock()
        self._typing = threading.Lock()
        self._end = ""

    def last_lines(self, count: int) -> str:
        """Return the last *count* lines, without control sequences."""
        return self._tail.last_lines(count)

    def panic(self) -> str | None:
        """Return why the guest's kernel says it has panicked; ``None`` if it does not say so."""
        return self._tail.panic()

    def watch(self, ready: Callable[[], None]) -> Watch:
        """Return a watch that has what is remembered, and gets what is said from now on."""
        watch = Watch(ready, reactor=self._reactor)
        with self._lock:
            self._watches.add(watch)
            if tail := bytes(self._tail):
                watch.put(tail)
            if self._end:
                watch.finish(self._end)
        return watch

    def unwatch(self, watch: Watch) -> None:
        """Fill *watch* no more."""
        with self._lock:
            self._watches.discard(watch)

    def notify(self, text: str, *, besides: Watch | None) -> None:
        """Give a notice to all who watch, in any thread.

        :param besides: who gets none.
        """
        with self._lock:
            for watch in self._watches - {besides}:
                watch.note(text)

    def received(self, data: bytes) -> bool:
        """Take what the guest has said, in any thread."""
        with self._lock:
            self._tail.received(data)
            for watch in self._watches:
                watch.put(data)
        return True

    def finish(self, reason: str) -> None:
        """Note that the VM is gone, and end the sessions of those who watch."""
        with self._lock:
            self._end = self._end or reason
            for watch in self._watches:
                watch.finish(reason)

    # The rest blocks.

    def open(self, domain: libvirt.virDomain, *, own: libvirt.virConnect | None = None) -> None:
        """Begin to listen to the console of *domain*, or begin again.

        :param own: the domain's connection, if it is there for the console alone.
        :raises GuestError: if it has been closed.
        """
        with self._opening:
            if self._closed:
                raise GuestError(f"VM {self._name} has been given up")
            self._hang_up()
            stream = open_console(domain)
            reader = StreamReader(stream, self.received, partial(self._line_ended, stream))
            self._line = _Line(stream, reader, own)

    def write(self, data: bytes, find_domain: Callable[[], libvirt.virDomain | None]) -> None:
        """Write *data* to the guest, as if somebody typed it.

        :param find_domain: returns the domain, by a connection that nothing else uses.
        :raises GuestError: if the guest does not read from its console, or is gone.
        """
        with self._typing:
            try:
                self._own_line(find_domain).send(data)
            except libvirt.libvirtError as error:
                self._reactor.callFromThread(self.lost)
                raise GuestError(
                    f"VM {self._name} did not take what was typed", details=str(error)
                ) from error

    def give_back(self) -> None:
        """Stop to listen, for good, and wait for libvirtd, unless something was typed.

        A console that is open while its domain ends can stop libvirtd (9.0) for ever: one thread
        closes it because QEMU is gone, another with the domain, and each waits for the other.
        What was typed may be waited for as well, so then it is closed after the domain.
        """
        with self._opening:
            self._closed = True
            line = self._line
            if line is not None and line.own is None:
                self._line = None
                with line.in_use:
                    line.reader.close()

    def close(self) -> None:
        """Stop to listen, for good."""
        with self._opening:
            self._closed = True
            self._hang_up()

    def _own_line(self, find_domain: Callable[[], libvirt.virDomain | None]) -> _Line:
        line = self._line
        if line is None or not line.can_be_typed_on:
            domain = find_domain()
            if domain is None:
                raise GuestError(f"VM {self._name} has no console: it does not run")
            self.open(domain, own=domain.connect())
            line = self._line
        if line is None:
            raise GuestError(f"VM {self._name} has been given up")
        return line

    def _hang_up(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def _line_ended(self, stream: libvirt.virStream) -> None:
        """Ask for another line; not if it was the host's: its connection is made again anyway."""
        line = self._line
        if line is not None and line.stream is stream and line.own is not None:
            self._reactor.callFromThread(self.lost)


def _nothing() -> None:
    """Do nothing."""
