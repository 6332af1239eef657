# SPDX-License-Identifier: GPL-2.0-only
"""Terminals in the browser: the serial console of a VM, over a WebSocket.

::

    GET plugins/latent_libvirt/terminal?pool=POOL&vm=VM_ID      (Upgrade: websocket)
    GET plugins/latent_libvirt/terminal?pool=POOL&vm=VM_ID&look=1

A binary message to the browser is a frame of ``control/frames.py``, and one from the browser is
what was typed. A text to the browser asks who is logged in there, and a pass is the answer. Other
texts from the browser say how many bytes it has shown since it said so last, or its size, as in
``80x24``. What it has not shown is bounded: a guest that floods its console waits
for nobody, and loses the output. Consoles of other masters' VMs are in ``near_terminal.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from autobahn.exception import Disconnected
from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from buildbot.www.authz.authz import Forbidden
from twisted.web import http

from latent_libvirt.control.console import ConsoleSession
from latent_libvirt.control.frames import CLOSE, Frame, Kind
from latent_libvirt.control.messages import ControlError
from latent_libvirt.deferreds import in_background, repeat
from latent_libvirt.master.page import rights
from latent_libvirt.master.page.actions import (
    RefusedError,
    asker,
    check_origin,
)
from latent_libvirt.master.page.audit import DONE
from latent_libvirt.master.page.far_terminal import SIZE, UNSHOWN
from latent_libvirt.master.page.flow import Flow
from latent_libvirt.master.page.near_terminal import NearTerminals
from latent_libvirt.master.page.rights import forbidden

if TYPE_CHECKING:
    from latent_libvirt.control.console import Vm
    from latent_libvirt.control.operations import Operations
    from latent_libvirt.master.page.audit import PageAudit
    from latent_libvirt.master.page.board import Board
    from latent_libvirt.master.page.near_terminal import NearSession

    Session = ConsoleSession | NearSession

    Note = Callable[..., None]
    """Notes an outcome, and why."""

MOST: Final = 50
"""Terminals that a master has open at a time."""

ASK_EVERY: Final = 15.0
"""Seconds between two questions to a browser who is logged in."""

WITHDRAWN: Final = "the configuration allows you this terminal no longer"

LOGGED_OUT: Final = (
    "you have logged out of Buildbot, or your session has expired. Log in, and open it again"
)

WHO: Final = b"who"
"""The question to the browser."""

SILENT: Final = "your browser does not say any more who is logged in. Open it again"

LONGEST: Final = 512 * 1024
"""Bytes of a message. One to the browser has at most what is kept of a console for a watcher."""

_Server: Any = WebSocketServerFactory  # autobahn has types for some methods alone
_Protocol: Any = WebSocketServerProtocol
_Resource: Any = WebSocketResource

_pools: WeakKeyDictionary[Any, dict[str, Operations]] = WeakKeyDictionary()


def offer(master: Any, pool: str, operations: Operations) -> None:
    """Let users open terminals in VMs of the pool of that name."""
    _pools.setdefault(master, {})[pool] = operations


def withdraw(master: Any, pool: str) -> None:
    """Let nobody open terminals there from now on."""
    _pools.get(master, {}).pop(pool, None)


def is_here(master: Any, pool: str) -> bool:
    """Whether a pool, by its id, is this master's."""
    number, _, name = pool.partition("/")
    return number == str(master.masterid) and name in _pools.get(master, {})


def operations(master: Any, pool: str) -> Operations | None:
    """Return what may be asked of a pool, by its id, if it is this master's."""
    return _pools[master][pool.partition("/")[2]] if is_here(master, pool) else None


@dataclass(frozen=True)
class Opening:
    """A terminal that a user may open.

    :ivar session: the console.
    :ivar holder: the user.
    :ivar note: notes the outcome in the audit log.
    :ivar free: lets another one have its place among those that are being opened.
    """

    session: Session
    holder: rights.Holder
    note: Note
    free: Callable[[], None]

    def give_back(self, why: str) -> None:
        """Open nothing, because of *why*."""
        self.free()
        self.note("refused", why)
        self.session.lost()


class Terminals:
    """Opens terminals for users of a master's web UI."""

    def __init__(self, master: Any, audit: PageAudit, board: Board) -> None:
        self._master = master
        self._audit = audit
        self._board = board
        self._elsewhere = NearTerminals(master)
        self._open: set[Terminal] = set()
        self._under_way: set[object] = set()

    async def opening(self, request: Any, pool: str, vm: str) -> Opening:
        """Return the terminal that a request asks for.

        :raises RefusedError: if it may not have it, or there is none.
        """
        facts = self._facts(request, pool, vm)
        holder = rights.Holder(self._master, request, pool)
        try:
            session, free = await self._find(request, pool, vm, facts["user"])
        except RefusedError as refusal:
            self._audit.note(facts, "refused", refusal.why)
            raise
        return Opening(session, holder, partial(self._audit.note, facts), free)

    async def look(self, request: Any, pool: str, vm: str) -> None:
        """See whether a request for that terminal would be refused, and open nothing.

        A browser does not say why a WebSocket is refused, so the page asks this before.

        :raises RefusedError: if it would.
        """
        try:
            await self._check(request, pool)
            await self._see(pool, vm)
        except RefusedError as refusal:
            self._audit.note(self._facts(request, pool, vm), "refused", refusal.why)
            raise

    def _facts(self, request: Any, pool: str, vm: str) -> dict[str, str]:
        asked = {"pool": pool, "command": rights.TERMINAL, "name": vm}
        return asker(self._master, request) | asked

    async def _find(
        self, request: Any, pool: str, vm: str, user: str
    ) -> tuple[Session, Callable[[], None]]:
        """Return a console, and what frees its place."""
        await self._check(request, pool)
        with ExitStack() as place:
            self._under_way.add(place)
            place.callback(self._under_way.discard, place)
            session = await self._console(request, pool, vm, user)
            return session, place.pop_all().close

    async def _check(self, request: Any, pool: str) -> None:
        check_origin(self._master, request)
        try:
            await rights.check(self._master.www, request, pool.partition("/")[2], rights.TERMINAL)
        except Forbidden as error:
            raise RefusedError(http.FORBIDDEN, forbidden(error)) from None
        if len(self._open) + len(self._under_way) >= MOST:
            raise RefusedError(http.SERVICE_UNAVAILABLE, f"{MOST} terminals are open already")

    async def _console(self, request: Any, pool: str, vm: str, user: str) -> Session:
        found = await self._see(pool, vm)
        if found is not None:
            return ConsoleSession(found, read_only=False, user=user)
        _refuse_without_websocket(request)
        master, _, name = pool.partition("/")
        return await self._elsewhere.open(int(master), name, vm, user)

    async def _see(self, pool: str, vm: str) -> Vm | None:
        """Return a VM of this master; ``None`` if the pool is another master's, which knows it."""
        here = operations(self._master, pool)
        if here is None:
            await self._board.look()
            if pool not in self._board.pools:
                raise RefusedError(http.NOT_FOUND, f"no pool {pool} is shown on the page")
            return None
        try:
            return here.vm(vm)
        except ControlError as error:
            raise RefusedError(http.NOT_FOUND, error.on_one_line) from None

    def begin(self, request: Any, opening: Opening) -> Any:
        """Turn a request's connection into a terminal; note whether it became one."""
        factory = _Factory(opening, self._open)
        return _Resource(factory).render(request)

    def review(self) -> None:
        """Close the terminals that the rules allow to their users no longer."""
        for each in tuple(self._open):
            each.review()


def _refuse_without_websocket(request: Any) -> None:
    """Refuse what a picture or a link of another site can ask for: it says nothing of its origin.

    The other master would keep a console for it until it misses the browser.

    :raises RefusedError: it cannot become a terminal.
    """
    if (request.getHeader(b"upgrade") or b"").lower() != b"websocket":
        raise RefusedError(http.BAD_REQUEST, "a terminal needs a WebSocket")


class _Factory(_Server):  # type: ignore[misc]
    """Makes the terminal of one connection."""

    noisy = False

    def __init__(self, opening: Opening, terminals: set[Terminal]) -> None:
        super().__init__()
        self.setProtocolOptions(
            webStatus=False,
            maxMessagePayloadSize=LONGEST,
            maxFramePayloadSize=LONGEST,
            autoPingInterval=30,
            autoPingTimeout=60,
        )
        self._opening = opening
        self._terminals = terminals

    def buildProtocol(self, addr: Any) -> Terminal:  # noqa: ARG002 - Twisted's signature
        terminal = Terminal(self._opening, self._terminals)
        terminal.factory = self
        return terminal


class Terminal(_Protocol):  # type: ignore[misc]
    """One browser at one console; the transport of its session."""

    def __init__(self, opening: Opening, terminals: set[Terminal]) -> None:
        super().__init__()
        self._opening = opening
        self._session = opening.session
        self._terminals = terminals
        self._has_opened = False
        self._flow = Flow(opening.session, UNSHOWN)
        self._questions: Any = None

    # What the browser does.

    def onOpen(self) -> None:
        """Begin."""
        self._has_opened = True
        self._opening.note(DONE)
        self._terminals.add(self)
        self._opening.free()
        self._session.begin(self)
        self.review()  # the rules may have changed while it was opened
        reactor, what = self._opening.holder.reactor, "a terminal of the page of VMs"
        self._questions = repeat(self._ask, every=ASK_EVERY, what=what, reactor=reactor)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: FBT001, N803
        """Take what was typed, or how much has been shown."""
        if self not in self._terminals:
            return
        if isBinary:
            self._session.received(payload)
        elif payload.isdigit():
            self._flow.shown(payload)
        elif size := SIZE.fullmatch(payload):
            self._session.resized(int(size[1]), int(size[2]))
        elif not self._opening.holder.shows(payload):
            self._withdraw(LOGGED_OUT)

    def onClose(self, *_reason: Any) -> None:
        """Leave nothing, not even the shell."""
        if self in self._terminals:
            self._terminals.remove(self)
            if self._questions is not None and self._questions.running:
                self._questions.stop()
            self._session.received(CLOSE)
            self._session.lost()
        elif not self._has_opened:
            why = self.wasNotCleanReason or "the client left"
            self._opening.give_back(f"no WebSocket: {why}")

    # What the rules do, and the end of the user's session.

    def _ask(self) -> None:
        """Ask the browser who is logged in; close it if there is no answer any more."""
        if self._opening.holder.is_silent:
            self._withdraw(SILENT)
            return
        with suppress(Disconnected):
            self.sendMessage(WHO, isBinary=False)
        self.review()

    def review(self) -> None:
        """Close it, and say why, if the rules do not allow it to its user now."""
        in_background(self._review(), "a terminal of the page of VMs")

    async def _review(self) -> None:
        if not await self._opening.holder.may(rights.TERMINAL):
            self._withdraw(WITHDRAWN)

    def _withdraw(self, why: str) -> None:
        if self not in self._terminals:
            return
        self.write(bytes(Frame(Kind.NOTICE, why.encode())))
        self.onClose()
        self.unregisterProducer()
        self.loseConnection()

    # What the session does with its connection.

    def write(self, data: bytes) -> None:
        """Send a frame."""
        self._flow.sent(len(data))
        with suppress(Disconnected):  # the browser closes it, or is gone
            self.sendMessage(data, isBinary=True)

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: FBT001, ARG002
        """Stop the session while the connection is full; the browser is minded as well."""
        self.transport.unregisterProducer()  # that of HTTP, which autobahn leaves there
        self.transport.registerProducer(_Gate(self._flow), True)

    def unregisterProducer(self) -> None:
        """Mind the connection no longer."""
        self.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        """Read nothing from the browser for now."""
        if self in self._terminals:
            self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read again."""
        if self in self._terminals:
            self.transport.resumeProducing()

    def loseConnection(self) -> None:
        """End it."""
        self.sendClose(1000)


class _Gate:
    """What a connection tells whether it takes more."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow

    def pauseProducing(self) -> None:
        self._flow.note_room(has_room=False)

    def resumeProducing(self) -> None:
        self._flow.note_room(has_room=True)

    def stopProducing(self) -> None:
        self._flow.note_room(has_room=False)
