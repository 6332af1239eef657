# SPDX-License-Identifier: GPL-2.0-only
"""One token, as far as it is known after it has been handed out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from latent_libvirt.jobs import reserved

DEFAULT_MAX_PRIORITY = 100
DEFAULT_MAX_UNFINISHED = 2000
"""What a token may do if it says nothing else, as those of earlier releases."""


_END_OF_YEAR_9999 = 253_402_300_799


def _of_the_calendar(seconds: int) -> int:
    """Refuse what is no time in seconds: one in milliseconds would let a token live for ever."""
    if not 0 <= seconds <= _END_OF_YEAR_9999:
        raise ValueError("must be whole seconds since 1970, up to the year 9999")
    return seconds


_Moment = Annotated[int, AfterValidator(_of_the_calendar)]


class Token(BaseModel):
    """One token.

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
    created: _Moment
    expires: _Moment | None = None

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


def digest_of(secret: str) -> str:
    """Return what is kept of a token's secret."""
    return hashlib.sha256(secret.encode()).hexdigest()
