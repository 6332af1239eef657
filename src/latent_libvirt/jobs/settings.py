# SPDX-License-Identifier: GPL-2.0-only
"""Settings of ``util.JobApi(...)`` in a ``master.cfg``, checked."""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from buildbot.interfaces import IRenderable
from twisted.internet.endpoints import serverFromString

from latent_libvirt.upstream.base_directory import from_base_directory

NAME = "job-api"
"""What Buildbot calls the service."""

DEFAULT_POSTS_PER_MINUTE = 600
DEFAULT_LARGEST_BODY = 2**20
DEFAULT_AUDIT_LOG = "job-api-audit.log"

WRITTEN_KEY = "whsec_"
"""How a secret begins that is a key in base64 (Standard Webhooks)."""

WANTED_URL = "must be an http or https URL without a query"

_LARGEST_PORT = 65535


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of the job API, which ``docs/how-to/start-jobs-by-post.md`` explains."""

    tokens: str
    url: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    read: Literal["anyone", "token"] = "anyone"
    posts_per_minute: int | None = DEFAULT_POSTS_PER_MINUTE
    max_body: int = DEFAULT_LARGEST_BODY
    audit_log: str | None = DEFAULT_AUDIT_LOG
    proxies: Sequence[str] = ()
    listen: str | None = None
    callback_hosts: Sequence[str] = ()
    callback_secret: Any = field(default=None, repr=False)

    def faults(self) -> Iterator[str]:
        """Say what is wrong with them."""
        if not _is_path(self.tokens):
            yield "JobApi: tokens must be the path of a token file"
        if not is_public_url(self.url):
            yield f"JobApi: url {WANTED_URL}, not {self.url!r}"
        if not _is_of_texts(self.labels, Mapping):
            yield "JobApi: labels must map patterns of labels to builders: {'deb*': 'check'}"
        if self.read not in ("anyone", "token"):
            yield f"JobApi: read must be 'anyone' or 'token', not {self.read!r}"
        yield from self._faults_of_bounds()
        yield from self._faults_of_callbacks()
        yield from self._faults_of_audit()
        yield from self._faults_of_listening()

    @property
    def missing_tokens(self) -> str | None:
        """The path of the token file if there is none, which 'token create' may make later."""
        if not _is_path(self.tokens) or Path(from_base_directory(self.tokens)).exists():
            return None
        return os.fspath(self.tokens)

    def _faults_of_bounds(self) -> Iterator[str]:
        if self.posts_per_minute is not None and not _is_count(self.posts_per_minute):
            yield "JobApi: posts_per_minute must be a number, at least 1, or None for no limit"
        if not _is_count(self.max_body) or not isinstance(self.max_body, int):
            yield "JobApi: max_body must be a whole number of bytes, at least 1 byte"

    def _faults_of_callbacks(self) -> Iterator[str]:
        if not _is_secret(self.callback_secret):
            yield "JobApi: callback_secret must be text or util.Secret(...)"
        elif not is_key(self.callback_secret):
            yield f"JobApi: callback_secret must have base64 after {WRITTEN_KEY!r}"
        if not _is_of_texts(self.callback_hosts, Collection):
            yield "JobApi: callback_hosts must be a list of names"

    def _faults_of_audit(self) -> Iterator[str]:
        if self.audit_log is not None and not _is_path(self.audit_log):
            yield f"JobApi: audit_log must be the path of a file, or None, not {self.audit_log!r}"
        if not _is_of_texts(self.proxies, Collection) or not all(map(_is_address, self.proxies)):
            yield f"JobApi: proxies must be a list of IP addresses, not {self.proxies!r}"

    def _faults_of_listening(self) -> Iterator[str]:
        if self.listen is None:
            return
        try:
            endpoint: Any = serverFromString(object(), self.listen)
        except Exception as error:  # noqa: BLE001 - each kind of endpoint raises its own
            yield f"JobApi: listen is no endpoint: {self.listen!r}: {error!r}"
            return
        port = getattr(endpoint, "_port", 0)
        if isinstance(port, int) and not 0 <= port <= _LARGEST_PORT:
            yield f"JobApi: listen has no port from 0 to {_LARGEST_PORT}: {self.listen!r}"

    def builder_of(self, label: str) -> str | None:
        """Return the builder that runs the jobs of a label; ``None`` if there is none."""
        for pattern, builder in self.labels.items():
            if fnmatchcase(label, pattern):
                return builder
        return None

    def may_call(self, url: str) -> bool:
        """Whether the result of a job may be posted there."""
        host = urlsplit(url).hostname or ""
        return any(fnmatchcase(host.lower(), pattern.lower()) for pattern in self.callback_hosts)


def _is_address(text: Any) -> bool:
    try:
        return isinstance(text, str) and bool(ip_address(text))
    except ValueError:
        return False


def _is_path(value: Any) -> bool:
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    return isinstance(text, str) and bool(text) and "\0" not in text


def _is_count(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 1 <= value < math.inf


def _is_of_texts(value: Any, kind: type[Any]) -> bool:
    """Whether it is some kind of collection, of nothing but texts."""
    if not isinstance(value, kind) or isinstance(value, str | bytes):
        return False
    texts = [*value, *value.values()] if isinstance(value, Mapping) else value
    return all(isinstance(text, str) for text in texts)


def is_public_url(url: Any) -> bool:
    """Whether *url* may stand above ``/jobs``; ``None`` may, and is Buildbot's own URL."""
    if url is None:
        return True
    if not isinstance(url, str) or "?" in url or "#" in url:
        return False
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0


def is_key(secret: Any) -> bool:
    """Whether *secret* is no written key, or one in correct base64."""
    if not isinstance(secret, str) or not secret.startswith(WRITTEN_KEY):
        return True
    try:
        return bool(base64.b64decode(secret.removeprefix(WRITTEN_KEY), validate=True))
    except ValueError:
        return False


def _is_secret(value: Any) -> bool:
    return (
        value is None or (isinstance(value, str) and bool(value)) or IRenderable.providedBy(value)
    )
