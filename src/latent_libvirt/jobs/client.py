# SPDX-License-Identifier: GPL-2.0-only
"""A client of the job API, for the command line: blocking, and patient with masters that restart.

It imports nothing of Buildbot or Twisted.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

from latent_libvirt.backoff import Backoff
from latent_libvirt.errors import LatentLibvirtError
from latent_libvirt.jobs.access import TOKEN_VARIABLE
from latent_libvirt.plain_text import as_text

Document = dict[str, Any]

RETRY_FOR = 120.0
"""Seconds in which a server that is away, or busy, is asked again: one that takes over is there."""

_TIMEOUT = 30.0
_LARGEST_ANSWER = 64 * 2**20
_BACKOFF = Backoff(first=0.5, longest=10.0)
_TRY_AGAIN = frozenset({429, 502, 503, 504})


class JobError(LatentLibvirtError):
    """The server refused something, or could not be asked."""


class _NotNow(Exception):  # noqa: N818
    """Worth another try.

    :param after: seconds, if the server has said how many.
    """

    def __init__(self, error: JobError, after: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.after = after


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The token is for this server, not for where that may lead."""

    def redirect_request(self, *_arguments: Any) -> None:
        return None


class Client:
    """Asks one server.

    :param url: the URL of ``/jobs``.
    :param token: the secret; ``None`` for what anyone may see.
    :param retry_for: seconds in which a server that is away is asked again.
    :param report: is called once with the reason why a command waits.
    :param handlers: of ``urllib``, such as ones that check addresses.
    """

    def __init__(  # noqa: PLR0913 - all but the first two have defaults
        self,
        url: str,
        token: str | None,
        *,
        retry_for: float = RETRY_FOR,
        sleep: Callable[[float], None] = time.sleep,
        report: Callable[[str], object] = lambda _why: None,
        handlers: Sequence[urllib.request.BaseHandler] = (),
    ) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._retry_for = retry_for
        self._sleep = sleep
        self._report = report
        self._opener = urllib.request.build_opener(_NoRedirects, *handlers)

    def submit(self, request: Mapping[str, Any]) -> Document:
        """Start a job; return its document.

        It has a UUID in any case, so that a POST whose answer was lost is safely repeated.

        :raises JobError: if it is refused.
        """
        named = {"uuid": str(uuid4()), **request}
        return self._with("uuid", self._ask("POST", "", named))

    def job(self, uuid: str) -> Document:
        """Return a job's document."""
        return self._with("uuid", self._ask("GET", _path(uuid)))

    def cancel(self, uuid: str) -> Document:
        """Cancel a job; return its document."""
        return self._with("uuid", self._ask("DELETE", _path(uuid)))

    def jobs(self, limit: int, filters: Mapping[str, str]) -> Iterator[Document]:
        """Yield the newest jobs that the filters let through, from as many pages as it takes."""
        cursor: str | None = None
        while limit > 0:
            arguments = dict(filters) | {"limit": str(min(limit, 100))}
            arguments |= {"cursor": cursor} if cursor else {}
            query = urlencode(arguments, errors="surrogateescape")
            page = self._with("jobs", self._ask("GET", f"?{query}"))
            yield from page["jobs"]
            limit -= len(page["jobs"])
            if not page["jobs"] or (cursor := page.get("next")) is None:
                return

    def _with(self, member: str, document: Document) -> Document:
        """Return a document that has this member: others answer with objects, too."""
        if member not in document:
            raise self._no_job_api()
        return document

    def _ask(self, method: str, path: str, body: Any = None) -> Document:
        failures, waited = 0, 0.0
        while True:
            try:
                return self._ask_once(method, path, body)
            except _NotNow as failure:
                failures += 1
                wait = failure.after or _BACKOFF.after(failures)
                if waited + wait > self._retry_for:
                    raise failure.error from None
                if not waited:
                    self._report(
                        f"{failure.error.brief}: {failure.error.details or ''}".rstrip(": ")
                    )
                    self._report(f"Trying again for up to {self._retry_for:g} s.")
                self._sleep(wait)
                waited += wait

    def _ask_once(self, method: str, path: str, body: Any) -> Document:
        try:
            with self._opener.open(self._request(method, path, body), timeout=_TIMEOUT) as answer:
                return _document(answer.read(_LARGEST_ANSWER))
        except urllib.error.HTTPError as error:
            raise _refusal(error) from None
        except (OSError, http.client.HTTPException) as error:
            unreachable = self._unreachable(error)
            raise (unreachable if _is_for_good(error) else _NotNow(unreachable)) from None
        except ValueError:
            raise self._no_job_api() from None

    def _no_job_api(self) -> JobError:
        return JobError(
            f"what answers at {self._url} is no job API", resolution="Give the URL of /jobs."
        )

    def _request(self, method: str, path: str, body: Any) -> urllib.request.Request:
        head = {"Accept": "application/json"}
        if self._token is not None:
            head["Authorization"] = f"Bearer {self._token}"
        if body is not None:
            head["Content-Type"] = "application/json"
        data = None if body is None else json.dumps(body, allow_nan=False).encode()
        return urllib.request.Request(self._url + path, data, head, method=method)  # noqa: S310 - checked where it enters

    def _unreachable(self, error: Exception) -> JobError:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        return JobError(
            f"{self._url} cannot be reached",
            details=as_text(reason),
            resolution="Check the URL, and whether the master runs.",
        )


def _document(answer: bytes) -> Document:
    """Return what a server has answered.

    :raises ValueError: if that is no JSON object.
    """
    try:
        found = json.loads(answer)
    except RecursionError as error:
        raise ValueError(str(error)) from None
    if not isinstance(found, dict):
        raise ValueError("no object")  # noqa: TRY004 - of what was received
    return found


def _is_for_good(error: Exception) -> bool:
    """Whether the next try would fail like this one: what is asked is no URL, or not trusted."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return isinstance(reason, http.client.InvalidURL | ssl.SSLCertVerificationError)


def _path(uuid: str) -> str:
    if not uuid:
        raise JobError("the UUID of a job is empty", resolution="'job list' shows those of jobs.")
    return f"/{quote(uuid, safe='', errors='surrogateescape')}"


def _refusal(error: urllib.error.HTTPError) -> JobError | _NotNow:
    """Return what the server's answer means."""
    refused = _as_error(error)
    if error.code not in _TRY_AGAIN:
        return refused
    after = error.headers.get("Retry-After", "")
    return _NotNow(refused, float(after) if after.isdecimal() else None)


def _no_token(title: str, detail: str) -> JobError:
    """Return a refusal with a remedy for the command line, where nobody sends a header."""
    why, _, _ = detail.partition(". ")
    return JobError(
        title,
        details=f"{why}." if why else None,
        resolution=f"Give one with --token-file FILE or in {TOKEN_VARIABLE}. "
        "'latent-libvirt token create' on the master's machine makes tokens.",
    )


def _as_error(error: urllib.error.HTTPError) -> JobError:
    with error:
        try:
            problem = _document(error.read(_LARGEST_ANSWER))
            title, detail = as_text(problem["title"]), problem.get("detail")
            if error.code == HTTPStatus.UNAUTHORIZED:
                return _no_token(title, as_text(detail or ""))
            return JobError(title, details=detail and as_text(detail))
        except (ValueError, TypeError, KeyError, OSError):
            return JobError(as_text(f"{error.url} answered {error.code} {error.reason}"))
