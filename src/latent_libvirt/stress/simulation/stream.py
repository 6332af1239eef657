# SPDX-License-Identifier: GPL-2.0-only
"""A stream of libvirt's that is a socket: libvirt's test driver has no streams."""

from __future__ import annotations

import socket
from typing import Any, Final, Self

import libvirt

WOULD_BLOCK: Final = -2
"""What libvirt's binding returns if a call would have to wait."""

_READABLE: Final = (
    libvirt.VIR_EVENT_HANDLE_READABLE
    | libvirt.VIR_EVENT_HANDLE_HANGUP
    | libvirt.VIR_EVENT_HANDLE_ERROR
)


class SimulatedStream:
    """The part of ``libvirt.virStream`` that consoles and channels use.

    Without a socket, nothing ever comes from it, and it takes whatever is sent.
    """

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._watch: int | None = None

    @property
    def _o(self) -> Self:
        """What the binding hands to libvirt in the place of a stream."""
        return self

    def connect(self, to: socket.socket) -> None:
        """Be the way to that socket, which does not block and outlives the stream."""
        self._socket = to

    def add_callback(self, _events: int, callback: dict[str, Any]) -> int:
        """Call back on libvirt's event loop whenever there is something to read."""
        if self._socket is not None:
            self._watch = libvirt.virEventAddHandle(
                self._socket.fileno(), _READABLE, self._ready, callback
            )
        return 0

    def _ready(self, _watch: int, _file: int, events: int, callback: dict[str, Any]) -> None:
        if callback["cb"] is not None:
            callback["cb"](self, events, callback["opaque"])

    def recv(self, most: int) -> bytes | int:
        """Return what has come; nothing if it is over."""
        assert self._socket is not None
        try:
            return self._socket.recv(most)
        except BlockingIOError:
            return WOULD_BLOCK
        except OSError:
            return b""

    def send(self, data: bytes) -> int:
        """Send what can be sent now; return how much that was."""
        if self._socket is None:
            return len(data)
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return WOULD_BLOCK
        except OSError as error:
            raise libvirt.libvirtError(f"the guest has gone: {error}") from error

    def eventRemoveCallback(self) -> None:  # noqa: N802 - libvirt's
        """Call back no more."""
        if self._watch is not None:
            libvirt.virEventRemoveHandle(self._watch)
        self._watch = None

    def abort(self) -> None:
        """End the stream; the socket stays as it is."""
        self._socket = None
