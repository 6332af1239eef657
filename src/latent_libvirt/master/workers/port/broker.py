# SPDX-License-Identifier: GPL-2.0-only
"""Connection of one worker, with bounds before its login and after it.

Twisted's decoder keeps what a list has so far until the list ends. Here a message has a bound, and
is decoded piece by piece. A connection that keeps the master busy for long, does not read its
answers, or is quicker than the database, rests for a while. It waits, and no other connection does.
"""

from __future__ import annotations

import time
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISSLTransport
from twisted.python.failure import Failure
from twisted.spread import pb
from twisted.spread.banana import BananaError

from latent_libvirt.master.workers.port import values
from latent_libvirt.master.workers.port.door import door, peer
from latent_libvirt.timers import passed

LOGIN_DEADLINE: Final = 30.0
"""Seconds from the connection to the right password. Workers need less than one, emulated ones a
few, and one that is too late tries again."""

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

SLICE: Final = 4 * 1024
"""Bytes that are decoded at a time: Twisted copies what is left of them for each item."""

TURN: Final = 0.05
"""Seconds that the messages of one connection may keep the master busy at a time. Then it rests as
long, so that it has half of the time at most. A chunk of a log or an upload takes a few ms."""

MOST_UNSENT_BEFORE_LOGIN: Final = 16 * 1024
"""Bytes that a connection with TLS has not taken, before the login. The kernel takes more."""

MOST_UNSENT: Final = 4 * 1024 * 1024
"""Bytes for a connection that it has not taken yet: who does not read them is not read from."""

MOST_UNWRITTEN: Final = 4 * 1024 * 1024
"""Bytes of logs that wait for the database: while there are more, their worker is not read from."""

WAITS: Final = 1024
"""Bytes that Python needs for an update that waits, besides those of its text."""

UNREAD_REST: Final = 0.1
"""Seconds until it is looked again whether it has taken some, or some was written."""

UNREAD_CHECK: Final = 5.0
"""Seconds between two looks at what a connection with TLS has not taken. TLS itself answers some
messages (TLS 1.3, key updates) that no decoder hears of: 1.5 MB/s of answers were measured."""


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
        self._unwritten = 0
        self._errors = 0
        self._messages = 0
        self._bytes = 0  # all of them until the login, then those of the message under way
        self._items = 0  # of the message under way
        self._refers = False  # the message under way, to a part of itself
        self._backlog = bytearray()  # what was read, and waits until the connection has rested
        self._rest: Any = None

    def connectionMade(self) -> None:
        """Let the time for the login run."""
        late = f"no login within {LOGIN_DEADLINE:.0f} s"
        self._deadline = self._reactor.callLater(LOGIN_DEADLINE, self.close, late)
        super().connectionMade()  # type: ignore[no-untyped-call]
        door.enter(self.close, peer(self.transport))
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
        door.leave(self.close)
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    def close(self, reason: str) -> None:
        """End the connection at once, whatever it has been sent."""
        if not self._is_closed:
            self._is_closed = True
            self._end_wait()
            door.complain(peer(self.transport), reason, passed(self._reactor))
            self.transport.abortConnection()  # type: ignore[union-attr]

    def wait_for(self, written: Deferred[None], size: int) -> None:
        """Count *size* bytes of this worker that wait until they are *written*."""
        if written.called and not written.paused:
            return
        self._unwritten += WAITS + size
        written.addBoth(self._was_written, WAITS + size)

    def _was_written(self, result: Any, size: int) -> Any:
        self._unwritten -= size
        return result

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
        if unsent(self.transport) > MOST_UNSENT or self._unwritten > MOST_UNWRITTEN:
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
        self._refers = self._refers or values.refers_to_another(item)
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
        self._refers = False

    # What a message leads to.

    def proto_message(self, request: Any, target: Any, *message: Any) -> None:
        """Take a call of one of our objects."""
        self._recvMessage(self._callable, request, target, *message)  # type: ignore[no-untyped-call]

    def _callable(self, target: Any) -> _Callable | None:
        found = self.localObjectForID(target)
        return None if found is None else _Callable(found)

    def localObjectForID(self, luid: Any) -> Any:  # noqa: N802
        """Return one of our objects, or nothing for what is no name of one."""
        is_name = isinstance(luid, int | bytes)
        return super().localObjectForID(luid) if is_name else None  # type: ignore[no-untyped-call]

    def unserialize(self, sexp: Any, perspective: Any = None) -> Any:
        """Return the value of a message, or of a part of it; close the connection if it has none.

        :raises Exception: it has none.
        """
        self.unserializingPerspective = perspective
        try:
            if self._refers:
                values.check_size(sexp, MOST_BYTES)
            return values.make(sexp, self)
        except Exception as error:
            self.close(f"{type(error).__name__}: {str(error)[:200]}")
            raise
        finally:
            self.unserializingPerspective = None

    # Twisted forgets who waits for an answer before it knows whether there is one in it. Here
    # the caller of one that is nonsense hears that the connection is lost.

    def proto_answer(self, request: Any, answer: Any) -> None:
        """Take the answer to one of our calls."""
        value = self.unserialize(answer)
        self._asked(request).callback(value)

    def proto_error(self, request: Any, error: Any) -> None:
        """Take the error that one of our calls has led to."""
        value = self.unserialize(error)
        if not isinstance(value, Failure):
            raise BananaError("an error is none")
        self._asked(request).errback(value)

    def _asked(self, request: Any) -> Any:
        waiting: Any = self.waitingForAnswers
        return waiting.pop(request)

    def proto_didNotUnderstand(self, _command: Any) -> None:  # noqa: N802
        """Refuse what Twisted would log at any length: workers understand their master."""
        self.close("it does not understand its master")

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


def wait_for(connection: Any, written: Deferred[None], size: int) -> None:
    """Let the guarded connection of a worker wait if much of what it has sent is not *written*."""
    broker = getattr(getattr(connection, "mind", None), "broker", None)
    if isinstance(broker, GuardedBroker):
        broker.wait_for(written, size)


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
