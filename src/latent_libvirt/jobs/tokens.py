# SPDX-License-Identifier: GPL-2.0-only
"""Tokens: each has a name, what it is for (builders, labels, properties, how much), and an expiry.

A token is 256 random bits, so a plain SHA-256 of it is all that has to be kept: a slow hash
protects what people choose, and there is nothing to guess here. So the file holds no secret; it is
its owner's alone nevertheless.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import secrets
import shlex
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from twisted.logger import Logger

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.jobs import reserved
from latent_libvirt.jobs.strict_json import is_text_of
from latent_libvirt.jobs.web.problems import no_token
from latent_libvirt.plain_text import as_text

log = Logger()

PREFIX = "llj_"
"""What every token begins with, so that scanners for leaked secrets can find it."""

DEFAULT_MAX_PRIORITY = 100
DEFAULT_MAX_UNFINISHED = 2000
"""What a token may do if it says nothing else, as those of earlier releases."""

LARGEST_FILE = 4 * 2**20
"""Bytes of a token file: ten thousand tokens."""

HALF_WRITTEN = 60.0
"""Seconds in which a file that is broken may be somebody's who is writing it."""

_SETTLED = 2.0
"""Seconds after which a file that is changed once more has other times."""

_LONGEST_PATTERN = 256
"""Characters: no name that Buildbot takes of a client is longer."""

_OWNER_ONLY = 0o600
_FOR_OTHERS = 0o077
_BYTES = 32


class Token(BaseModel):
    """One token, as far as it is known after it has been handed out.

    :param builders: patterns of the names of the builders that it is for, as in a shell.
    :param properties: patterns of the properties that it may set; ``None`` is all that nobody
        interprets.
    :param labels: patterns of the labels that it may ask for; ``None`` is all.
    :param max_priority: the highest that it may ask for; ``None`` is the default.
    :param max_unfinished: how many jobs of it may be unfinished; ``None`` is the default.
    :param created: seconds since the epoch.
    :param expires: the same; ``None`` if it does not.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Annotated[str, Field(pattern=r"^[\w.@+-]{1,100}$")]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    builders: Annotated[list[str], Field(min_length=1)]
    properties: list[str] | None = None
    labels: list[str] | None = None
    max_priority: int | None = None
    max_unfinished: Annotated[int, Field(ge=0)] | None = None
    created: int
    expires: int | None = None

    def may_use(self, builder: str) -> bool:
        """Whether it is for this builder."""
        return _matches(builder, self.builders)

    def may_ask_for(self, label: str) -> bool:
        """Whether it is for this kind of VM."""
        return self.labels is None or _matches(label, self.labels)

    def may_set(self, name: str) -> bool:
        """Whether it may set this property; what some steps interpret, only by its full name."""
        if reserved.is_for_steps(name):
            return name in (self.properties or ())
        return self.properties is None or _matches(name, self.properties)

    @property
    def priority(self) -> int:
        """The highest that it may ask for."""
        return DEFAULT_MAX_PRIORITY if self.max_priority is None else self.max_priority

    @property
    def quota(self) -> int:
        """How many of its jobs may be unfinished."""
        return DEFAULT_MAX_UNFINISHED if self.max_unfinished is None else self.max_unfinished

    def has_expired(self, now: float) -> bool:
        """Whether its time is over."""
        return self.expires is not None and now >= self.expires


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@dataclass(frozen=True)
class Scope:
    """Limits of a new token, beyond its builders; ``None`` is the default of each.

    The members are those of :class:`Token`.
    """

    properties: list[str] | None = None
    labels: list[str] | None = None
    max_priority: int | None = None
    max_unfinished: int | None = None


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    tokens: list[Token] = []


def read(path: Path) -> list[Token]:
    """Return the tokens of a file.

    :raises ConfigurationError: if it cannot be read, or others than its owner can.
    """
    found = _read(path)
    if found.is_for_others:
        raise _for_others(path)
    return found.tokens


@dataclass(frozen=True)
class _Found:
    """Content of a token file.

    :param is_for_others: whether others than its owner could have written or read it.
    """

    tokens: list[Token]
    is_for_others: bool


class _BrokenError(ConfigurationError):
    """A file can be read, and holds no tokens."""


def _read(path: Path) -> _Found:
    """Read a file, whatever it is: a FIFO does not hold anybody up, and a huge one is left.

    :raises ConfigurationError: if it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise _unreadable(path, "It is no ordinary file.")
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise _unreadable(path, error.strerror) from error
    if len(content) > LARGEST_FILE:
        raise _unreadable(path, f"It is larger than {LARGEST_FILE} bytes.")
    return _Found(_parse(path, content), bool(status.st_mode & _FOR_OTHERS))


def _parse(path: Path, content: bytes) -> list[Token]:
    try:
        return _Document.model_validate_json(content).tokens
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        raise _BrokenError(
            f"the token file {path} is broken",
            details="; ".join(
                as_text(f"{'.'.join(map(str, e['loc']))[:200]}: {e['msg']}") for e in faults[:3]
            ),
            resolution="Restore it, or delete it and make new tokens.",
        ) from None


def _unreadable(path: Path, why: str | None) -> ConfigurationError:
    return ConfigurationError(
        f"the token file {path} cannot be read",
        details=why,
        resolution="'latent-libvirt token create' makes one.",
    )


def _for_others(path: Path) -> ConfigurationError:
    return ConfigurationError(
        f"others than its owner may use the token file {path}",
        resolution=f"chmod 600 {shlex.quote(str(path))}",
    )


def create(  # noqa: PLR0913 - what a token has
    path: Path,
    *,
    name: str,
    builders: list[str],
    now: float,
    expires: float | None,
    scope: Scope = Scope(),
) -> str:
    """Add a token to a file, which is made if need be; return the secret, which is kept nowhere.

    :raises ConfigurationError: if there is one of that name, or the file cannot be used.
    """
    _refuse_useless(builders, scope)
    secret = PREFIX + secrets.token_urlsafe(_BYTES)
    try:
        token = Token(
            name=name,
            sha256=_digest(secret),
            builders=builders,
            created=int(now),
            expires=None if expires is None else int(expires),
            **asdict(scope),
        )
    except ValidationError:
        raise ConfigurationError(
            f"{name!r} is no good name for a token",
            resolution="Use up to 100 letters, digits and the characters . _ @ + -",
        ) from None
    _add(path, token)
    return secret


def _add(path: Path, token: Token) -> None:
    """Add *token* to a file, which is made if need be."""
    with _locked(path):
        tokens = read(path) if path.exists() else []
        if any(each.name == token.name for each in tokens):
            raise ConfigurationError(
                f"there is a token {token.name!r} already",
                resolution="Revoke it first, or choose another name.",
            )
        _write(path, [*tokens, token])


def _refuse_useless(builders: list[str], scope: Scope) -> None:
    """Refuse patterns that match nothing, or that no file in UTF-8 can have."""
    patterns = {"builder": builders, "property": scope.properties, "label": scope.labels}
    for kind, given in patterns.items():
        for pattern in given or ():
            if not pattern or not is_text_of(pattern) or len(pattern) > _LONGEST_PATTERN:
                shown = ascii(pattern[:_LONGEST_PATTERN])
                raise ConfigurationError(
                    f"{shown} is no pattern of a {kind}'s name",
                    resolution=f"Write up to {_LONGEST_PATTERN} characters in UTF-8. '*' is all.",
                )


def revoke(path: Path, name: str) -> None:
    """Take a token out of a file: from the next request on, it is worth nothing.

    :raises ConfigurationError: if there is none of that name, or the file cannot be used.
    """
    with _locked(path):
        tokens = read(path)
        left = [each for each in tokens if each.name != name]
        if len(left) == len(tokens):
            known = ", ".join(each.name for each in tokens) or "none"
            raise ConfigurationError(f"there is no token {name!r}", details=f"There is: {known}.")
        _write(path, left)


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
        if scheme.lower() != "bearer" or not secret.strip():
            raise no_token("There is none in the request.")
        token = self._find(secret.strip())
        if token is None:
            raise no_token("This one is unknown or revoked.")
        if token.has_expired(self._clock()):
            raise no_token(f"The token {token.name!r} has expired.")
        return token

    def _find(self, secret: str) -> Token | None:
        """Compare with all of them, each in constant time: nothing is learned from how long."""
        self._refresh()
        digest = _digest(secret)
        found = None
        for token in self._tokens:
            if hmac.compare_digest(token.sha256, digest):
                found = token
        return found

    def _refresh(self) -> None:
        seen = self._look()
        if seen is not None and seen == self._seen:
            return
        # What is changed twice within a tick of the clock looks the same: it is read once more.
        self._seen = seen if seen is not None and self._is_settled(seen) else None
        try:
            self._tokens = self._take(_read(self._path))
        except ConfigurationError as error:
            self._seen = None
            self._complain(str(error))
            self._tokens = self._tokens if self._may_be_half_written(error) else []

    def _take(self, found: _Found) -> list[Token]:
        """Return the tokens that are good now."""
        self._broken_since = None
        if not found.is_for_others:
            self._complaint = ""
            return found.tokens
        self._seen = None
        self._complain(f"{_for_others(self._path)}; until then none of its tokens is new")
        return [token for token in self._tokens if token in found.tokens]

    def _may_be_half_written(self, error: ConfigurationError) -> bool:
        if not isinstance(error, _BrokenError):
            self._broken_since = None
            return False
        if self._broken_since is None:
            self._broken_since = self._timer()
        return self._timer() - self._broken_since < HALF_WRITTEN

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


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep others that change the file out."""
    try:
        directory = os.open(path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ConfigurationError(
            f"there is no directory for {path}", details=error.strerror
        ) from error
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _write(path: Path, tokens: list[Token]) -> None:
    """Replace the file at once, so that a master never reads half of it."""
    document: dict[str, Any] = _Document(tokens=tokens).model_dump(exclude_none=True)
    text = json.dumps(document, indent=2, allow_nan=False)
    if len(text) > LARGEST_FILE:
        raise ConfigurationError(
            f"the token file {path} would be larger than {LARGEST_FILE >> 20} MiB",
            details="A master reads no larger one. Nothing was changed.",
            resolution="Revoke tokens that nobody uses.",
        )
    with tempfile.NamedTemporaryFile("w", dir=path.absolute().parent, delete=False) as file:
        try:
            os.fchmod(file.fileno(), _OWNER_ONLY)
            _give_to_master(file.fileno(), path)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _give_to_master(descriptor: int, path: Path) -> None:
    """Let the file belong to who has it, or its directory: root makes tokens for the master."""
    owner = (path if path.exists() else path.absolute().parent).stat()
    if os.geteuid() == 0:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
