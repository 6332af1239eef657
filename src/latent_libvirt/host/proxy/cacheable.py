# SPDX-License-Identifier: GPL-2.0-only
"""Rules for the cache of the forward proxy: what is kept, and when the destination is asked.

Guests of several labels share the cache, and none of them is trusted. So a response is only kept if
it cannot depend on the guest: the destination is asked with the proxy's headers alone. That is
done for files of package managers, which have no other form that a header could ask for.

Plain logic, after RFC 9111.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import h11

if TYPE_CHECKING:
    from latent_libvirt.config import DestinationConfig
    from latent_libvirt.host.proxy.headers import Target

_BY_HASH: Final = re.compile(r"/by-hash/SHA256/(?P<digest>[0-9a-f]{64})")
_PACKAGE: Final = re.compile(
    r"\.(deb|udeb|rpm|apk|whl|crate|gem|conda)"
    r"|/pool/.+\.(dsc|diff\.gz|tar\.[a-z0-9]+)"
    r"|/-/[^/]+\.tgz"
    r"|/by-hash/SHA512/[0-9a-f]{128}"
)

_PERSONAL: Final = frozenset(
    b"authorization cookie range if-range if-match if-none-match if-modified-since "
    b"if-unmodified-since cache-control pragma content-length transfer-encoding expect".split()
)
"""Headers of a request that makes the response one for that guest alone, or no whole file."""

_NOT_KEPT: Final = (b"no-store", b"private", b"no-cache")


def cache_key(request: h11.Request, target: Target, destination: DestinationConfig) -> str | None:
    """Return what the response is kept under; ``None`` if the cache has nothing to do with it.

    A destination that may have a private address is another one, whatever its name.
    """
    if request.method != b"GET" or any(name in _PERSONAL for name, _ in request.headers):
        return None
    if "?" in target.path or not (_ends_as(_PACKAGE, target) or _ends_as(_BY_HASH, target)):
        return None
    place = "private" if destination.private else "public"
    return f"{place} {target.url}"


def never_changes(target: Target) -> bool:
    """Whether a URL has the digest of its content, so that nobody has to be asked again."""
    return _ends_as(_BY_HASH, target) is not None


def is_what_was_named(target: Target, sha256: str) -> bool:
    """Whether content with that digest is what a URL names; most URLs name no digest.

    A wrong answer would be given to all guests for as long as one asks for it.
    """
    named = _ends_as(_BY_HASH, target)
    return named is None or named["digest"] == sha256


def _ends_as(pattern: re.Pattern[str], target: Target) -> re.Match[str] | None:
    return re.search(f"(?:{pattern.pattern})$", target.path)


def request_for_all(target: Target, validators: list[tuple[bytes, bytes]]) -> h11.Request:
    """Return a request with nothing of the guest's in it.

    :param validators: headers that ask whether what is kept is good still.
    """
    headers = [
        (b"Host", target.authority),
        (b"User-Agent", b"latent_libvirt"),
        (b"Accept", b"*/*"),
        (b"Accept-Encoding", b"identity"),
        *validators,
        (b"Connection", b"close"),
    ]
    return h11.Request(method=b"GET", target=target.path, headers=headers)


def may_be_kept(response: h11.Response, target: Target) -> bool:
    """Whether a response is the same for all, has an end, and can be asked about later."""
    named = {name for name, _ in response.headers}
    control = b",".join(v for k, v in response.headers if k == b"cache-control").lower()
    return (
        response.status_code == 200  # noqa: PLR2004
        and not named & {b"set-cookie", b"vary", b"content-range"}
        and bool(named & {b"content-length", b"transfer-encoding"})
        and not any(word in control for word in _NOT_KEPT)
        and (never_changes(target) or bool(validators_of(response)))
    )


def validators_of(response: h11.Response) -> list[tuple[bytes, bytes]]:
    """Return the headers of a request that asks whether *response* is good still (RFC 9110, 13)."""
    asked = {b"etag": b"If-None-Match", b"last-modified": b"If-Modified-Since"}
    return [(asked[name], value) for name, value in response.headers if name in asked]
