# SPDX-License-Identifier: GPL-2.0-only
"""Who may start jobs: tokens, each with a name, the builders that it is for, and an expiry.

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
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from twisted.logger import Logger

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.jobs.problems import no_token

log = Logger()

PREFIX = "llj_"
"""What every token begins with, so that scanners for leaked secrets can find it."""

_OWNER_ONLY = 0o600
_FOR_OTHERS = 0o077
_BYTES = 32


class Token(BaseModel):
    """One token, as far as it is known after it has been handed out.

    :param builders: patterns of the names of the builders that it is for, as in a shell.
    :param created: seconds since the epoch.
    :param expires: the same; ``None`` if it does not.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Annotated[str, Field(pattern=r"^[\w.@+-]{1,100}$")]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    builders: Annotated[list[str], Field(min_length=1)]
    created: int
    expires: int | None = None

    def may_use(self, builder: str) -> bool:
        """Whether it is for this builder."""
        return any(fnmatchcase(builder, pattern) for pattern in self.builders)

    def has_expired(self, now: float) -> bool:
        """Whether its time is over."""
        return self.expires is not None and now >= self.expires


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    tokens: list[Token] = []


def read(path: Path) -> list[Token]:
    """Return the tokens of a file.

    :raises ConfigurationError: if it cannot be read, or others than its owner can.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & _FOR_OTHERS:
                raise ConfigurationError(
                    f"others than its owner may use the token file {path}",
                    resolution=f"chmod 600 {path}",
                )
            return _Document.model_validate_json(file.read()).tokens
    except OSError as error:
        raise ConfigurationError(
            f"the token file {path} cannot be read",
            details=error.strerror,
            resolution="'latent-libvirt token create' makes one.",
        ) from error
    except ValidationError as error:
        raise ConfigurationError(
            f"the token file {path} is broken",
            details=str(error),
            resolution="Restore it, or delete it and make the tokens anew.",
        ) from None


def create(path: Path, *, name: str, builders: list[str], now: float, expires: float | None) -> str:
    """Add a token to a file, which is made if need be; return the secret, which is kept nowhere.

    :raises ConfigurationError: if there is one of that name, or the file cannot be used.
    """
    secret = PREFIX + secrets.token_urlsafe(_BYTES)
    try:
        token = Token(
            name=name,
            sha256=_digest(secret),
            builders=builders,
            created=int(now),
            expires=None if expires is None else int(expires),
        )
    except ValidationError:
        raise ConfigurationError(
            f"{name!r} is no good name for a token",
            resolution="Use up to 100 letters, digits and the characters . _ @ + -",
        ) from None
    with _locked(path):
        tokens = read(path) if path.exists() else []
        if any(each.name == name for each in tokens):
            raise ConfigurationError(
                f"there is a token {name!r} already",
                resolution="Revoke it first, or choose another name.",
            )
        _write(path, [*tokens, token])
    return secret


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

    :param clock: returns the seconds since the epoch.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._seen: tuple[int, int, int] | None = None
        self._tokens: list[Token] = []

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
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._tokens = read(self._path) if seen is not None else []
        except ConfigurationError as error:
            # Half a file of somebody's editor must not lock everybody out.
            log.warn("{error}; the tokens before it stay valid", error=str(error))

    def _look(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino


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
    document: dict[str, Any] = _Document(tokens=tokens).model_dump()
    with tempfile.NamedTemporaryFile("w", dir=path.absolute().parent, delete=False) as file:
        try:
            os.fchmod(file.fileno(), _OWNER_ONLY)
            _give_to_master(file.fileno(), path)
            json.dump(document, file, indent=2)
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
