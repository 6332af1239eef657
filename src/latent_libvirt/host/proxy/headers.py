# SPDX-License-Identifier: GPL-2.0-only
"""Targets and headers of HTTP requests that go through a proxy (RFC 9110, 9112)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import h11

from latent_libvirt.host.proxy.policy import RefusedError

MOST_HEADERS: Final = 32 * 1024
"""Bytes of the head of a request or a response."""

Headers = list[tuple[bytes, bytes]]

_HOP_BY_HOP: Final = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer "
    b"transfer-encoding upgrade".split()
)

_DEFAULT_PORT: Final = 80
_LONGEST_REASON: Final = 300
_HOST: Final = re.compile(r"[A-Za-z0-9._:-]+|\[[0-9A-Fa-f:.]+\]")


class Target(NamedTuple):
    """What a request is for.

    :param path: that the destination is asked for; empty for a ``CONNECT``.
    :param url: for people and logs, without a password.
    """

    name: str
    port: int
    path: str
    url: str

    @property
    def authority(self) -> bytes:
        """The value of the header ``Host``."""
        port = "" if self.port == _DEFAULT_PORT else f":{self.port}"
        return f"{self.name}{port}".encode()


def target(request: h11.Request) -> Target:
    """Return what *request* is for.

    :raises RefusedError: that is no URL of HTTP, nor a name with a port.
    """
    text = request.target.decode("ascii", errors="replace")
    if request.method == b"CONNECT":
        if any(key in {b"content-length", b"transfer-encoding"} for key, _ in request.headers):
            raise RefusedError("a CONNECT has no body")
        host, _, port = text.rpartition(":")
        return Target(_host(host), _port(port), "", text)
    try:
        parts = urlsplit(text)
        port = parts.netloc.rpartition("@")[2].rpartition("]")[2].partition(":")[2]
    except ValueError:
        raise RefusedError("the URL cannot be read") from None
    if parts.scheme != "http":
        raise RefusedError("only http:// URLs and CONNECT can be asked for")
    host, number = _host(parts.hostname or ""), _port(port or "80")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    shown = host if number == _DEFAULT_PORT else f"{host}:{number}"
    return Target(host, number, path, f"http://{shown}{path}")


def shown(request: h11.Request) -> str:
    """Return the target of a request that may be refused, without a password."""
    return re.sub("//[^/]*@", "//", request.target.decode("ascii", errors="replace"))


def _host(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise RefusedError("the URL names no host")
    return text


def _port(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or not 0 < int(text) < 65536:  # noqa: PLR2004
        raise RefusedError("the URL has no usable port")
    return int(text)


def forwarded(request: h11.Request, to: Target) -> h11.Request:
    """Return the request for the destination: with its name, and for one connection."""
    headers = [(b"Host", to.authority), *_end_to_end(request.headers, without={b"host"})]
    if _is_chunked(request.headers):
        headers = [header for header in headers if header[0].lower() != b"content-length"]
        headers.append((b"Transfer-Encoding", b"chunked"))
    headers.append((b"Connection", b"close"))
    return h11.Request(method=request.method, target=to.path, headers=headers)


def returned(response: h11.Response) -> h11.Response:
    """Return the response for the guest; h11 adds how its body is framed."""
    headers = _end_to_end(response.headers, without=set())
    if _is_chunked(response.headers):
        headers = [header for header in headers if header[0].lower() != b"content-length"]
    return h11.Response(status_code=response.status_code, reason=response.reason, headers=headers)


def refusal(status: int, why: str) -> tuple[h11.Response, bytes]:
    """Return a response that says why there is no other one, and its body.

    Tools show the reason of a refused ``CONNECT``, not its body, so both have it.
    """
    line = "".join(c for c in why if c.isascii() and c.isprintable())[:_LONGEST_REASON]
    body = f"latent_libvirt: {line}\n".encode()
    headers = [
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"Content-Length", str(len(body)).encode()),
        (b"Connection", b"close"),
    ]
    return h11.Response(status_code=status, reason=line.encode(), headers=headers), body


def _end_to_end(headers: h11._headers.Headers, *, without: set[bytes]) -> Headers:
    named = {
        name.strip().lower()
        for key, value in headers
        if key == b"connection"
        for name in value.split(b",")
    }
    dropped = _HOP_BY_HOP | named | without
    return [(raw, value) for raw, value in headers.raw_items() if raw.lower() not in dropped]


def _is_chunked(headers: h11._headers.Headers) -> bool:
    return any(key == b"transfer-encoding" for key, _ in headers)
