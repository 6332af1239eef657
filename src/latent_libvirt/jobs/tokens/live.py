# SPDX-License-Identifier: GPL-2.0-only
"""Tokens of a file, as it is now."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.logger import Logger

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.jobs.tokens.file import BrokenError, for_others, found_in
from latent_libvirt.jobs.tokens.token import digest_of
from latent_libvirt.jobs.web.problems import no_token

if TYPE_CHECKING:
    from latent_libvirt.jobs.tokens.file import Found
    from latent_libvirt.jobs.tokens.token import Token

log = Logger()

HALF_WRITTEN = 60.0
"""Seconds in which a file that is broken may be somebody's who is writing it."""

_SETTLED = 2.0
"""Seconds after which a file that is changed once more has other times."""


class LiveTokens:
    """The tokens of a file, as it is now.

    The file is looked at with every request, so that a token that is revoked is refused at once.
    That is a system call on a local file, and another two if it has changed.

    What counts is what was read last, and that is all of the file or nothing of it. A file that
    others than its owner could have written gives no token anything that it had not before; one
    that cannot be read gives nothing; one that is broken may be half written, and gets a minute.

    :param clock: returns the seconds since the epoch.
    :param timer: returns seconds that no clock's step changes.
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float],
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._clock = clock
        self._timer = timer
        self._seen: tuple[int, ...] | None = None
        self._tokens: list[Token] = []
        self._broken_since: float | None = None
        self._complaint = ""

    def authenticate(self, authorization: str | None) -> Token:
        """Return the token that a request's ``Authorization`` header holds.

        :raises RefusedError: 401, if it holds none that is valid.
        """
        scheme, _, secret = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not (secret := secret.strip(" ")):
            raise no_token("There is none in the request.")
        token = self._find(secret)
        if token is None:
            raise no_token("This one is unknown or revoked.")
        if token.has_expired(self._clock()):
            raise no_token(f"The token {token.name!r} has expired.")
        return token

    def _find(self, secret: str) -> Token | None:
        """Compare with all of them, each in constant time: nothing is learned from how long."""
        self._refresh()
        digest = digest_of(secret)
        found = None
        for token in self._tokens:
            if hmac.compare_digest(token.sha256, digest):
                found = token
        return found

    def _refresh(self) -> None:
        seen = self._look()
        if seen is not None and seen == self._seen:
            if self._broken_since is not None and self._is_broken_for_long(self._broken_since):
                self._tokens = []
            return
        # What is changed twice within a tick of the clock looks the same: it is read once more.
        self._seen = seen if seen is not None and self._is_settled(seen) else None
        try:
            self._tokens = self._take(found_in(self._path))
        except ConfigurationError as error:
            self._complain(str(error))
            self._tokens = self._tokens if self._may_be_half_written(error) else []

    def _take(self, found: Found) -> list[Token]:
        """Return the tokens that are good now."""
        self._broken_since = None
        if not found.is_for_others:
            self._complaint = ""
            return found.tokens
        self._complain(f"{for_others(self._path)}; until then none of its tokens is new")
        by_secret = {token.sha256: token for token in found.tokens}
        return [token for token in self._tokens if by_secret.get(token.sha256) == token]

    def _may_be_half_written(self, error: ConfigurationError) -> bool:
        if not isinstance(error, BrokenError):
            # It may be readable tomorrow and look the same.
            self._broken_since = self._seen = None
            return False
        if self._broken_since is None:
            self._broken_since = self._timer()
        return not self._is_broken_for_long(self._broken_since)

    def _is_broken_for_long(self, since: float) -> bool:
        return self._timer() - since >= HALF_WRITTEN

    def _complain(self, complaint: str) -> None:
        """Say it once."""
        if complaint != self._complaint and self._path.exists():
            log.warn("{complaint}", complaint=complaint)
        self._complaint = complaint

    def _look(self) -> tuple[int, ...] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        when = (status.st_mtime_ns, status.st_ctime_ns)
        return (*when, status.st_size, status.st_ino, status.st_dev, status.st_mode)

    def _is_settled(self, seen: tuple[int, ...]) -> bool:
        return abs(time.time() - seen[1] / 1e9) > _SETTLED
