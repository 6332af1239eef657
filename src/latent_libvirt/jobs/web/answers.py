# SPDX-License-Identifier: GPL-2.0-only
"""Answers as HTTP has them, and which kind a client likes best."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from latent_libvirt.jobs import strict_json
from latent_libvirt.jobs.web.problems import (
    MEDIA_TYPE,
)

if TYPE_CHECKING:
    from latent_libvirt.jobs.web.problems import (
        RefusedError,
    )

JSON = "application/json"
HTML = "text/html; charset=utf-8"
_QVALUE = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")
COMMON = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True)
class Answer:
    """An answer to a client.

    :param problem: the kind of problem that it describes.
    """

    status: int
    body: bytes
    kind: str
    headers: Mapping[str, str] = field(default_factory=dict)
    problem: str | None = None

    def send(self, request: Any) -> None:
        """Send it, unless the client has gone."""
        if request._disconnected:  # noqa: SLF001 - Twisted would raise, and offers no question
            return
        # Twisted has no name for some, such as 422 and 429.
        request.setResponseCode(self.status, HTTPStatus(self.status).phrase.encode())
        kind = {"Content-Type": self.kind, "Content-Length": str(len(self.body))}
        for name, value in (kind | COMMON | dict(self.headers)).items():
            request.setHeader(name.encode(), value.encode("utf-8", "surrogateescape"))
        request.write(self.body)
        request.finish()


def as_json(
    document: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Answer:
    """Return a document as an answer."""
    return Answer(status, _encoded(document), JSON, headers or {})


def as_html(text: str, *, headers: Mapping[str, str]) -> Answer:
    """Return a page as an answer."""
    return Answer(200, text.encode(), HTML, headers)


def as_problem(problem: RefusedError) -> Answer:
    """Return a problem as an answer."""
    body = _encoded(problem.document)
    return Answer(problem.status, body, MEDIA_TYPE, problem.headers, problem.kind)


def redirect(url: str, *, headers: Mapping[str, str] | None = None) -> Answer:
    """Return an answer that leads elsewhere, this time."""
    return as_json({"url": url}, status=303, headers={"Location": url, **(headers or {})})


def _encoded(document: Any) -> bytes:
    return strict_json.dumps(document, indent=1).encode() + b"\n"


def prefers_html(accept: str) -> bool:
    """Whether an ``Accept`` header likes HTML better than JSON, as those of browsers do."""
    return _quality(accept, "text/html") > _quality(accept, "application/json")


def _quality(accept: str, kind: str) -> float:
    """Return how much a kind is liked (RFC 9110, section 12.5.1); a precise name counts first."""
    liked = dict(_parse(item) for item in accept.split(","))
    for name in (kind, kind.partition("/")[0] + "/*", "*/*"):
        if name in liked:
            return liked[name]
    return 0.0


def _parse(item: str) -> tuple[str, float]:
    name, *parameters = (part.strip().lower() for part in item.split(";"))
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key == "q":
            return name, float(value) if _QVALUE.fullmatch(value) else 0.0
    return name, 1.0


def media_type(content_type: str) -> str:
    """Return what a ``Content-Type`` header says, without its parameters."""
    message = Message()
    message["Content-Type"] = content_type
    return message.get_content_type() if content_type else ""
