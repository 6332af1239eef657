# SPDX-License-Identifier: GPL-2.0-only
"""The early answer to a request whose body nobody will read.

Twisted's web server stores a whole body before anybody looks at the request, and parses it if it is
said to be a form. Here the head is enough: without a valid token, or with a body that is too large
or no JSON, a client is answered at once, and what it sends nevertheless is dropped. A web server
has a gate for each part of it that wants that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import unquote_to_bytes

from twisted.web.server import Request

from latent_libvirt.jobs.settings import DEFAULT_LARGEST_BODY
from latent_libvirt.jobs.web import (
    answers,
    problems,
)
from latent_libvirt.jobs.web.answers import (
    as_problem,
)
from latent_libvirt.jobs.web.noting import note
from latent_libvirt.jobs.web.problems import RefusedError
from latent_libvirt.jobs.web.visit import Visit
from latent_libvirt.upstream import lengths

if TYPE_CHECKING:
    from latent_libvirt.jobs.manager import JobManager
    from latent_libvirt.jobs.web.answers import (
        Answer,
    )

MOST_EXCESS: Final = 100
"""How many times as much as it may a client can send before its connection is closed."""

_OURS = ([b"jobs"], [b"plugins", b"jobs"])


class AnyGate(Protocol):
    """Says which requests are answered early."""

    @property
    def largest(self) -> int:
        """Bytes of a body."""

    def minds(self, path: bytes) -> bool:
        """Whether the gate is for a path."""

    def refuse(self, request: Any, length: int | None) -> Answer | None:
        """Return what is answered at once; ``None`` if the body is to be read."""

    def too_large(self, request: Any) -> Answer:
        """Return what is answered when more comes than is read."""


def parts_of(path: bytes) -> list[bytes]:
    """Return the parts of a path, as Twisted looks for resources by them."""
    return [unquote_to_bytes(part) for part in path.partition(b"?")[0][1:].split(b"/")]


class Gate:
    """Says which requests of jobs are answered early.

    :param manager: returns who serves; ``None`` if nobody does yet.
    :param is_alone: whether a server has jobs and nothing else; otherwise only paths of jobs count.
    """

    def __init__(self, manager: Callable[[], JobManager | None], *, is_alone: bool) -> None:
        self._manager = manager
        self._is_alone = is_alone

    def minds(self, path: bytes) -> bool:
        """Whether a path is one of jobs."""
        parts = parts_of(path)
        return self._is_alone or any(parts[: len(ours)] == ours for ours in _OURS)

    @property
    def largest(self) -> int:
        """Bytes of a body."""
        manager = self._manager()
        return DEFAULT_LARGEST_BODY if manager is None else manager.settings.max_body

    def refuse(self, request: Any, length: int | None) -> Answer | None:
        """Return what is answered at once; ``None`` if the body is to be read.

        :param length: as it was announced; ``None`` if it was not.
        """
        visit = Visit(request)
        try:
            self._check(visit, length)
        except RefusedError as problem:
            return self._noted(visit, as_problem(problem))
        return None

    def too_large(self, request: Any) -> Answer:
        """Return what is answered when more comes than is read."""
        return self._noted(Visit(request), as_problem(problems.too_large(self.largest)))

    def _check(self, visit: Visit, length: int | None) -> None:
        visit.check_head()
        if length == 0:
            return
        manager = self._manager()
        if manager is not None and visit.method == "POST":
            visit.facts["token"] = manager.authenticate(visit.header("authorization")).name
        if (length or 0) > self.largest:
            raise problems.too_large(self.largest)
        if visit.method == "POST":
            visit.check_media_type()

    def _noted(self, visit: Visit, answer: Answer) -> Answer:
        note(visit, answer, self._manager())
        return answer


class EarlyRequest(Request):
    """A request that is answered as soon as its head is known, if that is enough."""

    _received = 0
    _refused = False
    _gate: AnyGate | None = None

    def __init__(self, *arguments: Any, gates: Sequence[AnyGate], **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._gates = gates

    def gotLength(self, length: int | None) -> None:
        """Look at the head; *length* is what it announces."""
        channel: Any = self.channel
        if not hasattr(channel, "_command"):  # HTTP/2: the resources look at the body
            super().gotLength(length)
            return
        # What Twisted itself notes once the body has come.
        self.method, self.client = channel._command, channel.getPeer()  # noqa: SLF001
        path = channel._path  # noqa: SLF001
        self._gate = next((gate for gate in self._gates if gate.minds(path)), None)
        if self._gate is not None:
            self._answer_early(self._gate.refuse(self, length))
        super().gotLength(0 if self._refused else length)

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a part of the body; of one that nobody will read, nothing."""
        self._received += len(data)
        gate = self._gate
        if gate is not None and not self._refused and self._received > gate.largest:
            self._answer_early(gate.too_large(self))
        if gate is None or not self._refused:
            super().handleContentChunk(data)
        elif self._received > MOST_EXCESS * gate.largest:
            self.channel.loseConnection()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Answer, or be done with one that was answered."""
        if self._refused:
            self.channel.loseConnection()
        else:
            super().requestReceived(command, path, version)

    def _answer_early(self, answer: Answer | None) -> None:
        """Say it at once, and let the client finish what it sends: it would not read it before."""
        if answer is None:
            return
        self._refused = True
        channel: Any = self.channel
        channel.transport.write(_as_bytes(answer, with_body=self.method != b"HEAD"))
        if self.requestHeaders.hasHeader(b"expect"):  # it sends no body before it is asked to
            self.requestHeaders.removeHeader(b"expect")
            channel.loseConnection()


def _as_bytes(answer: Answer, *, with_body: bool) -> bytes:
    reason = HTTPStatus(answer.status).phrase
    headers = {
        "Connection": "close",
        "Content-Type": answer.kind,
        "Content-Length": str(len(answer.body)),
        **answers.COMMON,
        **answer.headers,
    }
    lines = [f"HTTP/1.1 {answer.status} {reason}", *(f"{k}: {v}" for k, v in headers.items())]
    head = "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")
    return head + answer.body if with_body else head


def guard(site: Any, gate: AnyGate) -> None:
    """Let a web server that has other things as well answer early where *gate* says so.

    :param site: one of Twisted's, that uses its usual requests; ``None`` is none yet.
    """
    lengths.install()
    if site is None:
        return
    if site.requestFactory is Request:
        site.requestFactory = partial(EarlyRequest, gates=[])
    factory = site.requestFactory
    if isinstance(factory, partial) and factory.func is EarlyRequest:
        gates = factory.keywords["gates"]
        gates[:] = [*(each for each in gates if type(each) is not type(gate)), gate]
