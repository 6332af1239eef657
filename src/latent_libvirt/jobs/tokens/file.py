# SPDX-License-Identifier: GPL-2.0-only
"""File of tokens, which its owner alone can read."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import stat
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from latent_libvirt import advice
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.jobs import strict_json
from latent_libvirt.jobs.tokens.token import Token
from latent_libvirt.jobs.web.members import faults_in
from latent_libvirt.plain_text import as_text

if TYPE_CHECKING:
    from latent_libvirt.jobs.web.members import Fault

LARGEST_FILE = 4 * 2**20
"""Bytes of a token file: ten thousand tokens."""

_OWNER_ONLY = 0o600
_FOR_OTHERS = 0o077
_MOST_FAULTS = 3
_LONGEST = 200


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    tokens: list[Token] = []

    @model_validator(mode="after")
    def _no_twins(self) -> Self:
        """Refuse two of one name or secret: which of their limits count would be a guess."""
        by_secret: dict[str, str] = {}
        for token in self.tokens:
            if (twin := by_secret.get(token.sha256)) is not None:
                raise ValueError(f"the tokens {twin!r} and {token.name!r} have one sha256")
            by_secret[token.sha256] = token.name
        name, times = Counter(by_secret.values()).most_common(1)[0] if by_secret else ("", 1)
        if times > 1:
            raise ValueError(f"{times} tokens are called {name!r}")
        return self


def read(path: Path) -> list[Token]:
    """Return the tokens of a file.

    :raises ConfigurationError: if it cannot be read, or others than its owner can.
    """
    found = found_in(path)
    if found.is_for_others:
        raise for_others(path)
    return found.tokens


@dataclass(frozen=True)
class Found:
    """Content of a token file.

    :param is_for_others: whether others than its owner could have written or read it.
    """

    tokens: list[Token]
    is_for_others: bool


class BrokenError(ConfigurationError):
    """A file can be read, and holds no tokens."""


def found_in(path: Path) -> Found:
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
        raise _unreadable(path, error.strerror, is_there=path.exists()) from error
    if len(content) > LARGEST_FILE:
        raise _unreadable(path, f"It is larger than {LARGEST_FILE} bytes.")
    return Found(_parse(path, content), bool(status.st_mode & _FOR_OTHERS))


def _parse(path: Path, content: bytes) -> list[Token]:
    try:
        document = _Document.model_validate_json(content)
        strict_json.refuse_twins(content)
    except ValidationError as error:
        raise _broken(path, map(_said, islice(faults_in(error), _MOST_FAULTS))) from None
    except ValueError as error:
        raise _broken(path, [as_text(error)]) from None
    return document.tokens


def _said(fault: Fault) -> str:
    where = ".".join(map(str, fault.where))[:_LONGEST]
    return as_text(f"{where}: {fault.what}" if where else fault.what)


def _broken(path: Path, faults: Iterable[str]) -> BrokenError:
    return BrokenError(
        f"the token file {path} is broken",
        details="; ".join(faults),
        resolution="Correct or restore it. If that cannot be done, delete it and make new tokens.",
    )


def _unreadable(path: Path, why: str | None, *, is_there: bool = True) -> ConfigurationError:
    return ConfigurationError(
        f"the token file {path} cannot be read",
        details=why,
        resolution=f"'{advice.command('ls', '-l', str(path))}' shows what it is, and whose."
        if is_there
        else "'latent-libvirt token create' makes one.",
    )


def for_others(path: Path) -> ConfigurationError:
    """Return the refusal of a file that others than its owner may use."""
    return ConfigurationError(
        f"others than its owner may use the token file {path}",
        resolution=f"chmod 600 {shlex.quote(str(path))}",
    )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep others that change the file out.

    :raises ConfigurationError: if there is no directory for it.
    """
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


def write(path: Path, tokens: list[Token]) -> None:
    """Replace the file at once, so that a master never reads half of it.

    :raises ConfigurationError: if it would be too large, or cannot be written.
    """
    document: dict[str, Any] = _Document(tokens=tokens).model_dump(exclude_none=True)
    text = json.dumps(document, indent=2, allow_nan=False)
    if len(text) > LARGEST_FILE:
        raise ConfigurationError(
            f"the token file {path} would be larger than {LARGEST_FILE >> 20} MiB",
            details="A master reads no larger one. Nothing was changed.",
            resolution="Revoke tokens that nobody uses.",
        )
    try:
        _replace(path, text)
    except OSError as error:
        look = advice.command("ls", "-ld", str(path.absolute().parent))
        raise ConfigurationError(
            f"the token file {path} cannot be written",
            details=error.strerror,
            resolution=f"'{look}' shows who may write there.",
        ) from error


def _replace(path: Path, text: str) -> None:
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
