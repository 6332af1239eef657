# SPDX-License-Identifier: GPL-2.0-only
"""Changes of a file of tokens: a new one, and the end of one."""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import ValidationError

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.jobs.strict_json import is_text_of
from latent_libvirt.jobs.tokens.file import locked, read, write
from latent_libvirt.jobs.tokens.token import Token, digest_of

PREFIX = "llj_"
"""What every token begins with, so that scanners for leaked secrets can find it."""

_LONGEST_PATTERN = 256
"""Characters: no name that Buildbot takes of a client is longer."""

_BYTES = 32


@dataclass(frozen=True)
class Scope:
    """Limits of a new token, beyond its builders; ``None`` is the default of each.

    The members are those of :class:`Token`.
    """

    properties: list[str] | None = None
    labels: list[str] | None = None
    max_priority: int | None = None
    max_unfinished: int | None = None


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
            sha256=digest_of(secret),
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
    with locked(path):
        tokens = read(path) if path.exists() else []
        if any(each.name == token.name for each in tokens):
            raise ConfigurationError(
                f"there is a token {token.name!r} already",
                resolution="Revoke it first, or choose another name.",
            )
        write(path, [*tokens, token])


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
    with locked(path):
        tokens = read(path)
        left = [each for each in tokens if each.name != name]
        if len(left) == len(tokens):
            known = ", ".join(each.name for each in tokens) or "none"
            raise ConfigurationError(f"there is no token {name!r}", details=f"There is: {known}.")
        write(path, left)
