# SPDX-License-Identifier: GPL-2.0-only
"""The master's end of the control socket: who may connect, and how requests come to the pool.

What the pool does with them is its own business; the lines are those of ``messages.py``.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from twisted.protocols.policies import TimeoutMixin

from latent_libvirt.control import messages
from latent_libvirt.control.messages import ControlError, Request
from latent_libvirt.control.socket_path import address_of
from latent_libvirt.deferreds import in_background
from latent_libvirt.errors import LatentLibvirtError

log = Logger()

IDLE_TIMEOUT = 600.0
"""Seconds after which a connection that asks nothing is closed."""

_OWNER_ONLY = 0o600
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid

Answerer = Callable[[Request], Awaitable[Any]]


@runtime_checkable
class Session(Protocol):
    """An answer to a request that takes the connection over from then on."""

    @property
    def result(self) -> Any:
        """What the client is answered first."""

    def begin(self, transport: Any) -> None:
        """Use the connection."""

    def received(self, data: bytes) -> None:
        """Take what the client has sent."""

    def lost(self) -> None:
        """Note that the connection is gone."""


@dataclass(frozen=True)
class _Answer:
    line: bytes
    session: Session | None = None


class ControlServer:
    """Listens on a socket that only this process' user can open.

    :param answer: returns the result of a request, or a :class:`Session`, or raises a
        LatentLibvirtError.
    """

    def __init__(self, path: Path, answer: Answerer, *, reactor: Any) -> None:
        self._path = path
        self._reactor = reactor
        self._factory = _ConnectionFactory(answer)
        self._open = ExitStack()
        self._port: Any = None

    async def start(self) -> None:
        """Begin to listen; the socket of a master that is dead is replaced.

        :raises ControlError: if another process listens there already, or that is no socket.
        :raises OSError: if it cannot be made.
        """
        with ExitStack() as undo:
            address = undo.enter_context(address_of(self._path))
            _remove_stale(self._path, address)
            endpoint = UNIXServerEndpoint(self._reactor, address, mode=_OWNER_ONLY)
            with _nobody_else():
                listening = endpoint.listen(self._factory)  # binds before it returns
            self._port = await listening
            self._open = undo.pop_all()

    async def start_or_log(self) -> None:
        """Begin to listen; if that is impossible, say so: builds do not depend on it."""
        try:
            await self.start()
        except (LatentLibvirtError, OSError, CannotListenError) as error:
            log.warn("there is no control socket: {error}", error=str(error))

    async def stop(self) -> None:
        """Close all connections, listen no longer, and remove the socket."""
        port, self._port = self._port, None
        if port is None:
            return
        # Twisted deletes the file on its own, but would never end if somebody else already has.
        with suppress(OSError):
            self._path.touch(_OWNER_ONLY)
        await port.stopListening()
        self._factory.close_all()
        self._open.close()


@contextmanager
def _nobody_else() -> Iterator[None]:
    """Let what is created in the meantime be its user's own from its first moment."""
    before = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(before)


def _remove_stale(path: Path, address: str) -> None:
    """Remove a socket that nobody listens on."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ControlError(
            f"{path} is in the way: it is no socket",
            resolution="Move it away; the master's control socket belongs there.",
        )
    with socket.socket(socket.AF_UNIX) as trying:
        trying.setblocking(False)
        try:
            trying.connect(address)
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:  # its queue is full: it lives
            pass
    raise ControlError(
        f"another process listens on {path}",
        resolution="Stop it: only one master can run in a base directory.",
    )


class _ConnectionFactory(Factory):
    noisy = False

    def __init__(self, answer: Answerer) -> None:
        self.answer = answer
        self.connections: set[_Connection] = set()

    def buildProtocol(self, addr: Any) -> _Connection:  # noqa: ARG002
        return _Connection(self)

    def close_all(self) -> None:
        for connection in tuple(self.connections):
            connection.close()


class _Connection(LineReceiver, TimeoutMixin):
    """One client. Its requests are answered one after the other."""

    transport: Any
    delimiter = b"\n"
    MAX_LENGTH = messages.MAX_REQUEST

    def __init__(self, factory: _ConnectionFactory) -> None:
        self._factory = factory
        self._session: Session | None = None

    def connectionMade(self) -> None:
        self._factory.connections.add(self)
        user = peer_user(self.transport)
        if user not in (0, os.geteuid()):
            log.warn("user {user} was refused at the control socket", user=user)
            self.close()
        self.setTimeout(IDLE_TIMEOUT)

    def connectionLost(self, reason: Any = None) -> None:  # noqa: ARG002
        self.setTimeout(None)
        self._factory.connections.discard(self)
        if self._session is not None:
            self._session.lost()

    def close(self) -> None:
        self.transport.abortConnection()

    def timeoutConnection(self) -> None:
        self.close()

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: ARG002
        error = ControlError(f"a request has at most {self.MAX_LENGTH} bytes")
        self.transport.write(messages.encode_error(error))
        self.transport.loseConnection()

    def lineReceived(self, line: bytes) -> None:
        self.setTimeout(None)
        self.pauseProducing()
        in_background(self._answer(line), "control socket")

    async def _answer(self, line: bytes) -> None:
        answer = await _answer(line, self._factory.answer)
        if self in self._factory.connections:
            self.transport.write(answer.line)
            if answer.session is None:
                self.setTimeout(IDLE_TIMEOUT)
            else:
                self._begin(answer.session)
            self.resumeProducing()

    def _begin(self, session: Session) -> None:
        self._session = session
        self.setRawMode()
        session.begin(self.transport)

    def rawDataReceived(self, data: bytes) -> None:
        assert self._session is not None
        self._session.received(data)


async def _answer(line: bytes, answer: Answerer) -> _Answer:
    try:
        result = await answer(messages.decode_request(line))
        if isinstance(result, Session):
            return _Answer(messages.encode_result(result.result), result)
        return _Answer(messages.encode_result(result))
    except LatentLibvirtError as error:
        return _Answer(messages.encode_error(error))
    except Exception:  # noqa: BLE001 - a mistake of ours must not leave the client waiting
        log.failure("control socket: a request failed")
        return _Answer(messages.encode_error(_MISTAKE))


_MISTAKE = ControlError(
    "the master failed to answer, by a mistake in latent_libvirt",
    resolution="Its twistd.log has a traceback: please report it.",
)


def peer_user(transport: Any) -> int:
    """Return the user who runs the process at the other end (SO_PEERCRED, unix(7))."""
    credentials = transport.socket.getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
    )
    return int(_CREDENTIALS.unpack(credentials)[1])
