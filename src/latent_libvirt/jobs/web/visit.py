# SPDX-License-Identifier: GPL-2.0-only
"""A request of a client, as text that can be trusted to be text.

Twisted gives bytes, and Python's own decoding guesses or fails. Whatever is no UTF-8, or has a NUL,
which PostgreSQL cannot store, is refused here (400), before anybody looks at it.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from latent_libvirt.jobs.web import (
    answers,
    problems,
)

_MOST_ARGUMENTS = 50

_ONCE = ("authorization", "content-length", "content-type", "host")
"""Headers that have one value (RFC 9110). Of two, a proxy may have looked at the other one."""


class Visit:
    """Wraps a request of Twisted's.

    :param has_ui: whether Buildbot's UI is where the request came to.
    :ivar facts: what the audit log is to say of it.
    """

    def __init__(self, request: Any, *, has_ui: bool = False) -> None:
        self._request = request
        self.has_ui = has_ui
        self.facts: dict[str, Any] = {}

    @property
    def method(self) -> str:
        """What is to be done."""
        return str(self._request.method.decode("latin-1"))

    @property
    def uri(self) -> bytes:
        """Where, as it was sent."""
        return bytes(self._request.uri)

    @property
    def path(self) -> list[str]:
        """The parts of the path below ``/jobs``.

        :raises RefusedError: 400.
        """
        return [_text(part, "the path") for part in self._request.postpath if part]

    @property
    def arguments(self) -> dict[str, list[str]]:
        """The arguments of the URL.

        :raises RefusedError: 400.
        """
        query = _text(self.uri.partition(b"?")[2], "the query")
        if query.count("&") >= _MOST_ARGUMENTS:
            raise problems.too_many_arguments(_MOST_ARGUMENTS)
        try:
            found = parse_qs(query, keep_blank_values=True, errors="strict")
        except ValueError:
            raise problems.no_text("the query") from None
        for texts in (found, *found.values()):
            for text in texts:
                _without_nul(text, "the query")
        return found

    def refuse_arguments(self) -> None:
        """Refuse any argument of the URL, where none would change anything.

        :raises RefusedError: 400.
        """
        for name in self.arguments:
            raise problems.argument_for_nothing(name)

    def check_head(self) -> None:
        """See that no header is there twice that has one value.

        :raises RefusedError: 400.
        """
        for name in _ONCE:
            if len(self._values(name)) > 1:
                raise problems.header_twice(name)

    def header(self, name: str) -> str:
        """Return a header, empty if there is none; of several, their list (RFC 9110, section 5.3).

        :raises RefusedError: 400.
        """
        return _text(b", ".join(self._values(name)), f"the header {name!r}")

    def _values(self, name: str) -> list[bytes]:
        return list(self._request.requestHeaders.getRawHeaders(name.encode()) or [])

    def body(self, limit: int) -> bytes:
        """Return the body, which has to be JSON.

        :raises RefusedError: if it is not said to be that (415), or too large (413).
        """
        self.check_media_type()
        body: bytes = self._request.content.read(limit + 1)
        if len(body) > limit:
            raise problems.too_large(limit)
        return body

    def check_media_type(self) -> None:
        """See that the body is said to be JSON, and nothing that is made of it.

        :raises RefusedError: 415.
        """
        encoding = self.header("content-encoding").strip()
        if encoding.lower() not in ("", "identity"):
            raise problems.encoded(encoding)
        if answers.media_type(self.header("content-type")) != answers.JSON:
            raise problems.not_said_to_be_json()

    def record(self, proxies: frozenset[str]) -> dict[str, Any]:
        """Return what the audit log says of it.

        :param proxies: those whose ``X-Forwarded-For`` is believed.
        """
        return {"from": self.peer(proxies), "method": self.method, **self.facts}

    def peer(self, proxies: frozenset[str]) -> str:
        """Return the address that it comes from.

        :param proxies: those whose ``X-Forwarded-For`` is believed.
        """
        peer = str(getattr(self._request.getClientAddress(), "host", "local"))
        forwarded = b",".join(self._values("x-forwarded-for"))
        # The last is what the proxy itself has added; those before it are what a client says.
        said = forwarded.rpartition(b",")[2].strip().decode("ascii", "backslashreplace")
        return said if said and peer in proxies else peer


def _text(data: bytes, where: str) -> str:
    try:
        return _without_nul(data.decode(), where)
    except UnicodeDecodeError:
        raise problems.no_text(where) from None


def _without_nul(text: str, where: str) -> str:
    if "\0" in text:
        raise problems.no_text(where)
    return text
