# SPDX-License-Identifier: GPL-2.0-only
"""The guard of the port that workers connect to: guests reach it, and one guest may be hostile.

Buildbot 4.3 accepts any number of connections there, waits for their logins for ever, and Twisted's
decoder keeps what a list has so far until the list ends. Here is one small wrapper around
Buildbot's own factory. Before its login, a connection has a deadline, may say a few KiB, and is one
of few. After it, one message has a bound, and is decoded piece by piece. How many messages a worker
sends is not bounded, but who keeps the master busy for long, or does not read its answers, is not
read from for a while: it waits, and nobody else does.

Many guests share one address: those of ``user`` networks all come from 127.0.0.1. So a limit never
refuses who comes next; it closes the connection that has waited longest for its login, among those
of the address that has most. A worker logs in within moments, while who does nothing gets old:
a flood from its own address has to be quicker than its login to harm it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import resource
import time
from collections import Counter
from functools import partial
from typing import Any, Final

from buildbot.worker.protocols.manager.pb import Dispatcher, PBManager
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISSLTransport
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.spread import pb
from twisted.spread.banana import BananaError
from zope.interface import implementer

from latent_libvirt.endpoints import certificate_of
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.timers import passed

log = Logger()

LOGIN_DEADLINE: Final = 30.0
"""Seconds from the connection to the right password. Workers need less than one, emulated ones a
few, and one that is too late tries again."""

MOST_WAITING: Final = 256
"""Connections that have not logged in, of all addresses. Fewer where the process may open few
files: an eighth of them, so that the rest is left to database, web and builds."""

MOST_WAITING_OF_ONE: Final = 128
"""The same, of one address."""

MOST_BEFORE_LOGIN: Final = 1024
"""Bytes before the login, which takes 400. Buildbot logs the name of one that fails."""

MOST_MESSAGES_BEFORE_LOGIN: Final = 16
"""Messages before the login, which takes four."""

MOST_BYTES: Final = 8 * 1024 * 1024
"""Bytes of one message after the login. Buildbot's largest are logs and uploads: a string is 640
KiB at most (``banana.SIZE_LIMIT``), and a worker sends its log in pieces of 64 KiB."""

MOST_ITEMS: Final = 500_000
"""Items of one message. 64 KiB of empty lines, each with its position and time, are 131,072."""

MOST_ERRORS: Final = 200
"""Messages after the login that end in an error. Twisted logs a traceback of each, some 2 KB."""

MOST_DEPTH: Final = 100
"""Lists within lists. Python's own limit would end the reading of a message in a traceback."""

MOST_DESCRIPTORS: Final = 16_384
"""Open files that a master asks for, if its hard limit lets it."""

SLICE: Final = 4 * 1024
"""Bytes that are decoded at a time: Twisted copies what is left of them for each item."""

TURN: Final = 0.05
"""Seconds that the messages of one connection may keep the master busy at a time. Then it rests as
long, so that it has half of the time at most. A chunk of a log or an upload takes a few ms."""

MOST_UNSENT_BEFORE_LOGIN: Final = 16 * 1024
"""Bytes that a connection with TLS has not taken, before the login. The kernel takes more."""

MOST_UNSENT: Final = 4 * 1024 * 1024
"""Bytes for a connection that it has not taken yet: who does not read them is not read from."""

UNREAD_REST: Final = 0.1
"""Seconds until it is looked again whether it has taken some."""

UNREAD_CHECK: Final = 5.0
"""Seconds between two looks at what a connection with TLS has not taken. TLS itself answers some
messages (TLS 1.3, key updates) that no decoder hears of: 1.5 MB/s of answers were measured."""

COMPLAIN_EVERY: Final = 60.0  # seconds


class Door:
    """The connections that have not logged in yet, oldest first, and who of them has to go."""

    def __init__(self) -> None:
        self._waiting: dict[GuardedBroker, str] = {}
        self._unsaid = 0
        self._said_at = float("-inf")

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(self, connection: GuardedBroker, address: str) -> None:
        """Take a connection; close another one if they are too many."""
        self._waiting[connection] = address
        most = min(MOST_WAITING, descriptor_limit() // 8)
        if self._of(address) > MOST_WAITING_OF_ONE:
            self._oldest(address).close("too many connections of one address wait for their login")
        if len(self._waiting) > most:
            (busiest, _), *_ = Counter(self._waiting.values()).most_common(1)
            self._oldest(busiest).close("too many connections wait for their login")

    def leave(self, connection: GuardedBroker) -> None:
        """Forget a connection: it has logged in, or has gone."""
        self._waiting.pop(connection, None)

    def complain(self, address: str, reason: str, now: float) -> None:
        """Log that a connection was closed, once a minute at most: a flood is not to fill disks."""
        self._unsaid += 1
        if now - self._said_at < COMPLAIN_EVERY:
            return
        log.warn(
            "worker port: {count} connections were closed since the last such line; the last, from "
            "{address}: {reason}",
            count=self._unsaid,
            address=address,
            reason=reason,
        )
        self._unsaid, self._said_at = 0, now

    def _of(self, address: str) -> int:
        return sum(other == address for other in self._waiting.values())

    def _oldest(self, address: str) -> GuardedBroker:
        return next(who for who, where in self._waiting.items() if where == address)


door = Door()
"""That of all ports of this process: they share its memory and its open files."""


class GuardedBroker(pb.Broker):
    """Twisted's end of a worker's connection, which trusts nobody.

    :param reactor: for its deadline.
    """

    def __init__(self, *, reactor: Any, **keywords: Any) -> None:
        super().__init__(**keywords)  # type: ignore[no-untyped-call]
        self._reactor = reactor
        self._deadline: Any = None
        self._is_known = False
        self._is_closed = False
        self._unread_check: Any = None
        self._refusal: Any = None
        self._errors = 0
        self._messages = 0
        self._bytes = 0  # all of them until the login, then those of the message under way
        self._items = 0  # of the message under way
        self._backlog = bytearray()  # what was read, and waits until the connection has rested
        self._rest: Any = None

    def connectionMade(self) -> None:
        """Let the time for the login run."""
        late = f"no login within {LOGIN_DEADLINE:.0f} s"
        self._deadline = self._reactor.callLater(LOGIN_DEADLINE, self.close, late)
        super().connectionMade()  # type: ignore[no-untyped-call]
        door.enter(self, peer(self.transport))
        if ISSLTransport.providedBy(self.transport):
            self._check_unread_later()

    def connectionLost(self, reason: Any) -> None:  # type: ignore[override]
        """Forget it."""
        self._is_closed = True
        self._end_wait()
        self._backlog.clear()
        for timer in (self._rest, self._unread_check, self._refusal):
            if timer is not None and timer.active():
                timer.cancel()
        self._rest = None
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def password_was_right(self) -> None:
        """Let it say what workers say."""
        self._is_known = True
        self._bytes = 0
        self._end_wait()

    def turned_away(self, failure: Failure) -> Failure:
        """Close it soon: Buildbot has no use for it, and answers why."""
        self._reactor.callLater(1, self.close, failure.getErrorMessage())
        return failure

    def _end_wait(self) -> None:
        door.leave(self)
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    def close(self, reason: str) -> None:
        """End the connection at once, whatever it has been sent."""
        if not self._is_closed:
            self._is_closed = True
            self._end_wait()
            door.complain(peer(self.transport), reason, passed(self._reactor))
            self.transport.abortConnection()  # type: ignore[union-attr]

    def dataReceived(self, chunk: bytes) -> None:  # noqa: N802 - Twisted's
        """Decode what has come, as far as it is within bounds."""
        self._backlog += chunk
        self._take_turn()

    def _take_turn(self) -> None:
        """Decode what waits; stop after a while, so that others have their turn, too."""
        began = time.monotonic()
        while self._backlog and self._rest is None and not self._is_closed:
            data = bytes(self._backlog[:SLICE])
            del self._backlog[:SLICE]
            self._decode(data)
            self._rest_if_busy(time.monotonic() - began)

    def _rest_if_busy(self, used: float) -> None:
        if not self._is_known or self._is_closed:
            return
        if unsent(self.transport) > MOST_UNSENT:
            self._begin_rest(UNREAD_REST)
        elif used > TURN:
            self._begin_rest(used)

    def _check_unread_later(self) -> None:
        self._unread_check = self._reactor.callLater(UNREAD_CHECK, self._check_unread)

    def _check_unread(self) -> None:
        """See that a connection takes what TLS answers; before its login, close one that does not.

        A connection that rests is looked at when it has rested.
        """
        self._check_unread_later()
        if not self._is_known and unsent(self.transport) > MOST_UNSENT_BEFORE_LOGIN:
            self.close("it does not read what TLS answers")
        elif self._rest is None:
            self._rest_if_busy(0)

    def _begin_rest(self, seconds: float) -> None:
        transport: Any = self.transport
        transport.pauseProducing()
        self._rest = self._reactor.callLater(seconds, self._has_rested)

    def _has_rested(self) -> None:
        self._rest = None
        self._rest_if_busy(0)
        self._take_turn()
        transport: Any = self.transport
        if self._rest is None and not self._is_closed:
            transport.resumeProducing()

    def _decode(self, data: bytes) -> None:
        if self._is_known and not self.listStack and not self.buffer:
            self._bytes = 0
        self._bytes += len(data)
        try:
            self._check()
            super().dataReceived(data)  # type: ignore[no-untyped-call]
        except Exception as error:  # noqa: BLE001 - whatever a stranger's bytes lead to
            self.close(f"{type(error).__name__}: {str(error)[:200]}")

    def _check(self) -> None:
        if self._bytes > (MOST_BYTES if self._is_known else MOST_BEFORE_LOGIN):
            raise BananaError("a message is too long")
        if len(self.listStack) > MOST_DEPTH:
            raise BananaError("a message has too many lists within lists")

    def gotItem(self, item: Any) -> None:  # noqa: N802
        """Count what a message holds."""
        self._items += 1
        if self._items > MOST_ITEMS:
            raise BananaError("a message has too many items")
        super().gotItem(item)  # type: ignore[no-untyped-call]

    def callExpressionReceived(self, obj: Any) -> None:  # noqa: N802
        """Take a message."""
        self._items = 0
        self._messages += 1
        if self._is_known:
            self._bytes = 0
        elif self._messages > MOST_MESSAGES_BEFORE_LOGIN:
            raise BananaError("too many messages before the login")
        super().callExpressionReceived(obj)  # type: ignore[no-untyped-call]

    # What a message leads to.

    def proto_message(self, request: Any, target: Any, *message: Any) -> None:
        """Take a call of one of our objects."""
        self._recvMessage(self._callable, request, target, *message)  # type: ignore[no-untyped-call]

    def _callable(self, target: Any) -> _Callable | None:
        found = self.localObjectForID(target)  # type: ignore[no-untyped-call]
        return None if found is None else _Callable(found)

    def proto_cachemessage(self, *_message: Any) -> None:
        """Refuse a call of a cached object: Buildbot caches none."""
        self.close("it calls what does not exist")

    def has_erred(self, error: BaseException) -> bool:
        """Count a message that has failed with *error*; return whether to log it in full.

        Who has not logged in is refused, after a moment in which it can read why.
        """
        why = f"{type(error).__name__}: {str(error)[:200]}"
        self._errors += 1
        if not self._is_known:
            self._refuse(why)
        elif self._errors > MOST_ERRORS:
            self.close(f"too many of its messages fail; the last: {why}")
        return self._is_known and not self._is_closed

    def _refuse(self, why: str) -> None:
        """Close it in a moment, unless its next login is right."""
        if self._refusal is None:
            self._refusal = self._reactor.callLater(1, self._close_stranger, why)

    def _close_stranger(self, why: str) -> None:
        if not self._is_known:
            self.close(why)

    def _sendFailure(self, fail: Failure, requestID: Any) -> None:  # noqa: N802, N803
        """Answer that a call has failed later on."""
        error = fail.value
        send = self._sendError
        if error is not None and self.has_erred(error):
            send = super()._sendFailure
        send(fail, requestID)

    def _sendError(self, fail: Any, requestID: Any) -> None:  # noqa: N802, N803
        """Answer with an error. A stranger gets no traceback, which Buildbot would send."""
        if isinstance(fail, Failure) and not self._is_known:
            copy: Any = pb.failure2Copyable(fail, unsafeTracebacks=False)  # type: ignore[no-untyped-call]
            self.sendCall(b"error", requestID, self.serialize(copy))  # type: ignore[no-untyped-call]
        else:
            super()._sendError(fail, requestID)  # type: ignore[no-untyped-call]


class _Callable:
    """One of our objects, as a connection may call it."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def remoteMessageReceived(self, broker: GuardedBroker, message: str, args: Any, kw: Any) -> Any:  # noqa: N802
        """Call it. A stranger's call that fails is not logged with its traceback."""
        try:
            return self._target.remoteMessageReceived(broker, message, args, kw)
        except Exception as error:
            if broker.has_erred(error):
                raise
            raise pb.Error("refused") from None


@implementer(IRealm)
class _Realm:
    """Buildbot's realm, which is asked once a password was right."""

    def __init__(self, realm: Any) -> None:
        self._realm = realm

    def requestAvatar(self, avatar_id: Any, mind: Any, *interfaces: Any) -> Deferred[Any]:  # noqa: N802
        broker = getattr(mind, "broker", None)
        avatar: Deferred[Any] = self._realm.requestAvatar(avatar_id, mind, *interfaces)
        if isinstance(broker, GuardedBroker):
            broker.password_was_right()
            avatar.addErrback(broker.turned_away)
        return avatar


class GuardedDispatcher(Dispatcher):  # type: ignore[misc]
    """Buildbot's port for workers, guarded."""

    def __init__(self, config_portstr: Any, portstr: str) -> None:
        super().__init__(config_portstr, portstr)
        guard(self)


def guard(dispatcher: Dispatcher) -> None:
    """Guard the connections that *dispatcher* will have, and learn its certificate."""
    # A VM's start needs it, and fails with this error.
    with contextlib.suppress(ConfigurationError):
        certificate_of(dispatcher.portstr)
    dispatcher.portal.realm = _Realm(dispatcher)
    dispatcher.serverFactory.protocol = partial(_broker, dispatcher)


def _broker(dispatcher: Dispatcher, **keywords: Any) -> GuardedBroker:
    return GuardedBroker(reactor=dispatcher.master.reactor, **keywords)


def install() -> None:
    """Guard all ports for workers that this process is going to open."""
    PBManager.dispatcher_class = GuardedDispatcher


def guard_open_ports(manager: PBManager) -> None:
    """Guard the ports that were open before there was a pool."""
    for dispatcher in manager.dispatchers.values():
        if not isinstance(dispatcher, GuardedDispatcher):
            guard(dispatcher)


def peer(transport: Any) -> str:
    """Return where a connection comes from: an address, or the network that one IPv6 host has."""
    host = str(getattr(transport.getPeer(), "host", "a local socket"))
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 6 and not address.is_loopback:  # noqa: PLR2004
        return str(ipaddress.ip_network((int(address), 64), strict=False))
    return host


def unsent(transport: Any) -> int:
    """Return how many bytes Twisted keeps for a connection, with or without TLS.

    It offers no question; without what it has inside, this is 0.
    """
    total = 0
    while transport is not None:
        total += len(getattr(transport, "dataBuffer", b"")) + getattr(transport, "_tempDataLen", 0)
        total += sum(map(len, getattr(transport, "_appSendBuffer", ())))
        transport = getattr(transport, "transport", None)
    return total


def descriptor_limit() -> int:
    """Return how many files this process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft


def raise_descriptor_limit() -> None:
    """Let this process open as many files as its hard limit allows, up to a bound of ours."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
