# SPDX-License-Identifier: GPL-2.0-only
"""Output of a guest, read from libvirt's streams: its serial console and its handshake channel.

libvirt carries both over the connection it has anyway (``virDomainOpenConsole``,
``virDomainOpenChannel``), so they work the same on remote hosts. Data is read on libvirt's event
loop thread, never on the reactor's. A guest is hostile: whatever it writes, memory stays bounded.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import libvirt
import libvirtmod

from latent_libvirt.errors import GuestError
from latent_libvirt.host.names import CHANNEL_NAME
from latent_libvirt.plain_text.control_sequences import PlainText

CONSOLE_TAIL_BYTES = 16 * 1024
CHANNEL_LINE_BYTES = 64 * 1024
CHANNEL_TOTAL_BYTES = 256 * 1024

_READ_BYTES = 64 * 1024
_WOULD_BLOCK = -2
_READABLE = (
    libvirt.VIR_STREAM_EVENT_READABLE
    | libvirt.VIR_STREAM_EVENT_ERROR
    | libvirt.VIR_STREAM_EVENT_HANGUP
)


assert libvirt.VIR_DOMAIN_CONSOLE_FORCE == libvirt.VIR_DOMAIN_CHANNEL_FORCE
_BY_FORCE = libvirt.VIR_DOMAIN_CONSOLE_FORCE

_GIVEN_BACK_WITHIN = 3.0
"""Seconds after which who still has a console does not give it back by himself."""

_LOOK_AGAIN_AFTER = 0.05


class StreamReader:
    """Hands on what arrives on one stream until it ends or :meth:`close` is called.

    :param received: called with each piece, on libvirt's event loop thread; returning ``False``
        ends the reading.
    :param ended: called there too, when the stream ends before :meth:`close`.
    """

    def __init__(
        self,
        stream: libvirt.virStream,
        received: Callable[[bytes], bool],
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._stream: libvirt.virStream | None = stream
        self._received = received
        self._ended = ended
        self._open = True
        self._one_ends_it = threading.Lock()
        self._callback = _add_callback(stream, self._ready)

    def _ready(self, stream: libvirt.virStream, _events: int, _opaque: object) -> None:
        try:
            data = stream.recv(_READ_BYTES)
        except libvirt.libvirtError:
            data = b""
        if data == _WOULD_BLOCK:
            return
        if (not data or not self._received(data)) and self._stop_reading(stream):
            self._ended()

    def _stop_reading(self, stream: libvirt.virStream) -> bool:
        """Read no more; return whether that is new."""
        with self._one_ends_it:
            was_open, self._open = self._open, False
        if was_open:
            stream.eventRemoveCallback()
        return was_open

    def close(self) -> None:
        """Give the stream back to libvirt. May be repeated. Blocks: call it in a thread."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        try:
            self._stop_reading(stream)
            stream.abort()
        except libvirt.libvirtError:
            pass  # The domain or the connection is gone, and the stream with it.
        self._callback.update(stream=_NoStream(), cb=None)
        # Anyone who they are methods of may have us, and the stream.
        self._received, self._ended = _ignore, _ignore_end


def _ignore(_data: bytes) -> bool:
    return False


def _ignore_end() -> None:
    pass


def _add_callback(stream: libvirt.virStream, ready: Callable[..., None]) -> dict[str, Any]:
    """Do what ``stream.eventAddCallback`` does, and return what it hands to libvirt.

    libvirt-python (12.8) never frees that. It refers to the stream, which refers to its
    connection: none of them would ever be freed, nor the connection closed and its ssh ended.
    """
    callback = {"stream": stream, "cb": ready, "opaque": None}
    if libvirtmod.virStreamEventAddCallback(stream._o, _READABLE, callback) == -1:  # noqa: SLF001
        raise libvirt.libvirtError("virStreamEventAddCallback() failed")
    return callback


class _NoStream:
    """Stands in for a stream that was closed, should libvirt's event loop still call it."""

    def _dispatchStreamEventCallback(self, _events: int, _callback: object) -> int:  # noqa: N802
        return 0


_PANIC = re.compile(r"Kernel panic - not syncing: (.{1,200})")


class ConsoleTail:
    """The last lines of a guest's serial console."""

    def __init__(self) -> None:
        self._tail = bytearray()

    def __bytes__(self) -> bytes:
        return bytes(self._tail)

    def received(self, data: bytes) -> None:
        """Keep *data*, forget what is older than the last :data:`CONSOLE_TAIL_BYTES`."""
        self._tail += data
        del self._tail[:-CONSOLE_TAIL_BYTES]

    def last_lines(self, count: int) -> str:
        """Return the last *count* lines, without control sequences."""
        lines = PlainText().of(bytes(self).decode(errors="replace")).split("\n")
        return "\n".join([line for line in lines if line.strip()][-count:])

    def panic(self) -> str | None:
        """Return why the guest's kernel says it has panicked; ``None`` if it does not say so."""
        reasons = _PANIC.findall(self.last_lines(CONSOLE_TAIL_BYTES))
        return reasons[-1].strip() if reasons else None


class MessageDecoder:
    """Takes a guest's newline-delimited JSON apart, within bounds.

    :raises GuestError: from :meth:`feed`, on whatever is not a JSON object on a line of at most
        :data:`CHANNEL_LINE_BYTES`, and on more than :data:`CHANNEL_TOTAL_BYTES` in all.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._total = 0

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Return the messages that *data* completes."""
        self._total += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        too_long = any(len(line) > CHANNEL_LINE_BYTES for line in [*lines, self._rest])
        if too_long or self._total > CHANNEL_TOTAL_BYTES:
            raise GuestError("the guest flooded its channel")
        return [_message(line) for line in lines if line.strip()]


def _message(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise GuestError("the guest broke the handshake", details=f"not JSON: {error}") from error
    if not isinstance(message, dict):
        raise GuestError("the guest broke the handshake", details="a message is not an object")
    return message


def open_console(domain: libvirt.virDomain) -> libvirt.virStream:
    """Take the console of *domain* from its current client. Blocks: call it in a thread."""
    return _open(domain, partial(domain.openConsole, None))


def open_channel(domain: libvirt.virDomain, name: str) -> libvirt.virStream:
    """Take the channel *name* of *domain*. Blocks: call it in a thread."""
    return _open(domain, partial(domain.openChannel, name))


def _open(
    domain: libvirt.virDomain, connect: Callable[[libvirt.virStream, int], object]
) -> libvirt.virStream:
    """Return a stream that *connect* has connected to a device of *domain*.

    It is taken by force only from somebody who has had it for a while. libvirtd (9.0) deadlocks for
    good if one is forced out of a device at the moment at which he gives it back anyway:
    ``virChrdevOpen`` then holds the lock that ``virFDStreamCloseInt`` waits for, and the reverse.
    """
    take_at = time.monotonic() + _GIVEN_BACK_WITHIN
    while (left := take_at - time.monotonic()) > 0:
        stream = domain.connect().newStream(libvirt.VIR_STREAM_NONBLOCK)
        try:
            connect(stream, 0)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_OPERATION_FAILED:
                raise
            time.sleep(min(_LOOK_AGAIN_AFTER, left))
        else:
            return stream
    stream = domain.connect().newStream(libvirt.VIR_STREAM_NONBLOCK)
    connect(stream, _BY_FORCE)
    return stream


class Channel:
    """The handshake channel of one domain. Its constructor and methods block: use a thread.

    :param received: called with each message, or with the error that ended the channel, on
        libvirt's event loop thread.
    """

    def __init__(
        self,
        domain: libvirt.virDomain,
        received: Callable[[dict[str, Any] | GuestError], None],
    ) -> None:
        self._received = received
        self._decoder = MessageDecoder()
        self._stream = open_channel(domain, CHANNEL_NAME)
        self._reader = StreamReader(self._stream, self._decode)

    def _decode(self, data: bytes) -> bool:
        try:
            messages = self._decoder.feed(data)
        except GuestError as error:
            self._received(error)
            return False
        for message in messages:
            self._received(message)
        return True

    def send(self, message: dict[str, Any], *, timeout: float) -> None:
        """Write *message* to the guest.

        :raises GuestError: if the guest does not take it within *timeout* seconds.
        """
        data = json.dumps(message).encode() + b"\n"
        give_up_at = time.monotonic() + timeout
        while data:
            sent = self._stream.send(data)
            if sent == _WOULD_BLOCK:
                if time.monotonic() > give_up_at:
                    raise GuestError("the guest does not read from its channel")
                time.sleep(0.01)
            else:
                data = data[sent:]

    def close(self) -> None:
        """Close the channel; the guest's launcher sees it as the end of the handshake."""
        self._reader.close()
