# SPDX-License-Identifier: GPL-2.0-only
"""Relay of bytes between an operator and a master's console session, until one of them ends."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from latent_libvirt.control.frames import FrameDecoder, Kind
from latent_libvirt.control.messages import ControlError

if TYPE_CHECKING:
    from latent_libvirt.control.frames import Frame

_BYTES = 64 * 1024


class End(Enum):
    """Why it is over, where that is not the end of the VM."""

    DETACHED = "detached"
    QUIET = "quiet"


@dataclass(frozen=True)
class Operator:
    """The operator's side.

    :param keyboard: the descriptor to read from; ``None`` if nothing is to be sent.
    :param filter: takes what was read; returns what is for the guest, and whether to detach then.
    :param output: takes what the guest says.
    :param notice: takes what the master says of it.
    :param first: what is sent to the guest before anything is typed.
    :param reply: takes what the guest says; returns what is sent to it for that.
    :param quiet_for: seconds without output, after the end of the input, to stop at; ``None`` to
        go on until the VM ends.
    """

    keyboard: int | None
    filter: Callable[[bytes], tuple[bytes, bool]]
    output: Callable[[bytes], None]
    notice: Callable[[str], None]
    quiet_for: float | None = None
    first: bytes = b""
    reply: Callable[[bytes], bytes] = lambda _output: b""


class Relay:
    """One conversation.

    :param connection: to the master; it must not block.
    :param first: what the master has sent already.
    """

    def __init__(self, connection: socket.socket, first: bytes, operator: Operator) -> None:
        self._connection = connection
        self._first = first
        self._operator = operator
        self._keyboard = operator.keyboard
        self._decoder = FrameDecoder()
        self._unsent = operator.first
        self._detach = False
        self._heard = time.monotonic()

    def run(self) -> End | str:
        """Return how it ended: if with the VM, the reason for that.

        :raises ControlError: if the master is gone, or has never been one, or ends the session.
        """
        end: End | str | None = self._take(self._first)
        while end is None:
            end = self._turn()
        return end

    def _turn(self) -> End | str | None:
        if self._detach and not self._unsent:
            return End.DETACHED
        ready = self._wait()
        self._send()
        if self._keyboard in ready:
            self._type()
        if self._connection.fileno() in ready:
            return self._take(self._receive())
        return End.QUIET if self._is_quiet() else None

    def _wait(self) -> set[int]:
        """Wait until there is something to do; return what can be read."""
        poll = select.poll()  # Not epoll: it does not take files.
        connection = self._connection.fileno()
        poll.register(connection, select.POLLIN | (select.POLLOUT if self._unsent else 0))
        if self._keyboard is not None and not self._unsent and not self._detach:
            poll.register(self._keyboard, select.POLLIN)
        left = self._quiet_left()
        ready = poll.poll(None if left is None else max(0.0, left) * 1000)
        return {descriptor for descriptor, event in ready if event != select.POLLOUT}

    def _quiet_left(self) -> float | None:
        """Return how many seconds of silence are left; ``None`` if it may be silent for ever."""
        if self._operator.quiet_for is None or self._keyboard is not None or self._unsent:
            return None
        return self._heard + self._operator.quiet_for - time.monotonic()

    def _is_quiet(self) -> bool:
        left = self._quiet_left()
        return left is not None and left <= 0

    def _type(self) -> None:
        assert self._keyboard is not None
        typed = _read(self._keyboard)
        self._heard = time.monotonic()
        if not typed:
            self._keyboard = None
        told, self._detach = self._operator.filter(typed)
        self._unsent += told
        self._send()

    def _send(self) -> None:
        if not self._unsent:
            return
        try:
            sent = self._connection.send(self._unsent)
        except BlockingIOError:
            return
        except OSError as error:
            raise _gone(f"{error}.") from None
        self._unsent = self._unsent[sent:]

    def _receive(self) -> bytes:
        try:
            data = self._connection.recv(_BYTES)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise _gone(f"{error}.") from None
        if not data:
            raise _gone("It closed the connection.")
        return data

    def _take(self, data: bytes) -> str | None:
        try:
            frames = self._decoder.feed(data)
        except ValueError as error:
            raise _gone(f"What it sent is no frame: {error}.") from None
        for frame in frames:
            if frame.kind is Kind.END:
                return frame.text
            if frame.kind is Kind.CLOSED:
                raise ControlError("the master has closed the terminal", details=f"{frame.text}.")
            self._show(frame)
        return None

    def _show(self, frame: Frame) -> None:
        if frame.kind is Kind.NOTICE:
            self._operator.notice(frame.text)
        else:
            self._heard = time.monotonic()
            self._operator.output(frame.content)
            self._unsent += self._operator.reply(frame.content)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _BYTES)
    except OSError:  # a terminal whose other end is gone
        return b""


def _gone(details: str) -> ControlError:
    return ControlError(
        "the master has closed the console",
        details=details,
        resolution="See its twistd.log: it may have been stopped.",
    )
