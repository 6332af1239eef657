# SPDX-License-Identifier: GPL-2.0-only
"""The command line's end of the control socket. Blocks."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from latent_libvirt.control import messages
from latent_libvirt.control.messages import ControlError
from latent_libvirt.control.socket_path import (
    SUFFIX,
    address_of,
)

if TYPE_CHECKING:
    from latent_libvirt.control.messages import Request

TIMEOUT = 15.0
"""Seconds to wait for an answer that the master has at hand."""

SWEEP_TIMEOUT = 300.0
"""Seconds to wait for a sweep, which waits for the slowest host's answers to several calls."""

USAGE_TIMEOUT = 120.0
"""Seconds to wait until a database has listed the builds of years."""

THAW_TIMEOUT = 600.0
"""Seconds to wait until a host has read all memory of a VM."""

MOVE_TIMEOUT = 3600.0 + THAW_TIMEOUT
"""Seconds to wait until a VM has been copied to another host and thawed there."""

T = TypeVar("T")


class Client:
    """A connection to a running master, for the length of a ``with`` block.

    :param where: the socket, or the directory that has one in it: the master's base directory.
    :raises ControlError: if there is no master.
    """

    def __init__(self, where: Path) -> None:
        path = _socket_in(where) if where.is_dir() else where
        with ExitStack() as undo:
            connection = undo.enter_context(socket.socket(socket.AF_UNIX))
            connection.settimeout(TIMEOUT)
            try:
                connection.connect(undo.enter_context(address_of(path)))
            except OSError as error:
                raise _no_master(path, error) from None
            self._connection = connection
            self._lines = undo.enter_context(connection.makefile("rb"))
            self._open = undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.close()

    def ask(self, request: Request, answer: type[T], *, timeout: float = TIMEOUT) -> T:
        """Return the master's answer, a value of that type.

        :param timeout: seconds.
        :raises ControlError: if the master refuses, or is gone.
        """
        self._connection.settimeout(timeout)
        try:
            self._connection.sendall(messages.encode_request(request))
            line = self._lines.readline()
        except OSError as error:
            raise _gone(f"{error}.") from None
        if not line.endswith(b"\n"):
            raise _gone("It closed the connection.")
        return messages.decode_answer(line, answer)

    def converse(self) -> tuple[socket.socket, bytes]:
        """Return the connection, which no longer blocks, and what of it has been read already.

        For what follows an answer that is the last; the connection is still closed by this object.
        """
        self._connection.setblocking(False)
        return self._connection, self._lines.read1(len(self._lines.peek()))


def runs_in(directory: Path) -> bool:
    """Return whether a master with a pool runs in *directory*, as far as its sockets say."""
    return any(_answers(path) for path in directory.glob(f"*{SUFFIX}") if path.is_socket())


def _answers(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as connection, address_of(path) as address:
            connection.settimeout(TIMEOUT)
            connection.connect(address)
    except OSError as error:
        return isinstance(error, PermissionError)  # a master of another user
    return True


def _socket_in(directory: Path) -> Path:
    """Return the one socket in *directory*.

    :raises ControlError: if there is none, or several.
    """
    sockets = sorted(path for path in directory.glob(f"*{SUFFIX}") if path.is_socket())
    if len(sockets) == 1:
        return sockets[0]
    if not sockets:
        raise ControlError(
            f"no master with a pool runs in {directory.absolute()}",
            details=f"There is no socket (*{SUFFIX}) in it.",
            resolution="Start the master, or name its base directory with --socket.",
        )
    raise ControlError(
        f"there are several pools in {directory.absolute()}",
        details=f"Their sockets: {', '.join(path.name for path in sockets)}.",
        resolution="Name one of them with --socket.",
    )


def _no_master(path: Path, error: OSError) -> ControlError:
    if isinstance(error, PermissionError):
        resolution = "Run this as the user that the master runs as."
    else:
        resolution = "Start the master, or name its base directory with --socket."
    return ControlError(
        f"no master answers at {path.absolute()}",
        details=f"{error.strerror or error}.",
        resolution=resolution,
    )


def _gone(details: str) -> ControlError:
    return ControlError(
        "the master did not answer",
        details=details,
        resolution="See its twistd.log: it may have been stopped, or have too much to do.",
    )
