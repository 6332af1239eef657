# SPDX-License-Identifier: GPL-2.0-only
"""What ``util.JobApi(...)`` of a ``master.cfg`` says, checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from ipaddress import ip_address
from typing import Any, Literal
from urllib.parse import urlsplit

from buildbot.interfaces import IRenderable
from twisted.internet.endpoints import serverFromString

DEFAULT_POSTS_PER_MINUTE = 600
DEFAULT_LARGEST_BODY = 2**20
DEFAULT_AUDIT_LOG = "job-api-audit.log"


@dataclass(frozen=True)
class Settings:
    """How a master serves the job API; each value is explained in ``docs/jobs.md``."""

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
        if not self.tokens:
            yield "JobApi: tokens must be the path of a token file"
        if self.url is not None and not _is_http(self.url):
            yield f"JobApi: url must be an http or https URL, not {self.url!r}"
        if self.read not in ("anyone", "token"):
            yield f"JobApi: read must be 'anyone' or 'token', not {self.read!r}"
        if self.posts_per_minute is not None and self.posts_per_minute < 1:
            yield "JobApi: posts_per_minute must be at least 1, or None for no limit"
        if self.max_body < 1:
            yield "JobApi: max_body must be at least 1 byte"
        if not _is_secret(self.callback_secret):
            yield "JobApi: callback_secret must be text or util.Secret(...)"
        if isinstance(self.callback_hosts, str):
            yield "JobApi: callback_hosts must be a list of names"
        yield from self._faults_of_audit()
        yield from self._faults_of_listening()

    def _faults_of_audit(self) -> Iterator[str]:
        audit_log: Any = self.audit_log
        if audit_log is not None and not (isinstance(audit_log, str) and audit_log):
            yield f"JobApi: audit_log must be the path of a file, or None, not {self.audit_log!r}"
        if isinstance(self.proxies, str) or not all(map(_is_address, self.proxies)):
            yield f"JobApi: proxies must be a list of IP addresses, not {self.proxies!r}"

    def _faults_of_listening(self) -> Iterator[str]:
        if self.listen is None:
            return
        try:
            serverFromString(object(), self.listen)
        except Exception as error:  # noqa: BLE001 - each kind of endpoint raises its own
            yield f"JobApi: listen is no endpoint: {self.listen!r}: {error!r}"

    def builder_of(self, label: str) -> str | None:
        """Return the builder that runs the jobs of a label; ``None`` if there is none."""
        for pattern, builder in self.labels.items():
            if fnmatchcase(label, pattern):
                return builder
        return None

    def may_call(self, url: str) -> bool:
        """Whether a finished job may be told there."""
        host = urlsplit(url).hostname or ""
        return any(fnmatchcase(host.lower(), pattern.lower()) for pattern in self.callback_hosts)


def _is_address(text: Any) -> bool:
    try:
        return isinstance(text, str) and bool(ip_address(text))
    except ValueError:
        return False


def _is_http(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _is_secret(value: Any) -> bool:
    return value is None or isinstance(value, str) or IRenderable.providedBy(value)
