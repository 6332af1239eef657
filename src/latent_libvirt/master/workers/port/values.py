# SPDX-License-Identifier: GPL-2.0-only
"""Values that a message may hold: plain ones, and none that is larger than a message may be.

Twisted lets a message refer to a part of itself. Ten lists, each of which has the one before it ten
times, take 300 bytes, and are ten thousand million items to whatever looks at them: Buildbot copies
what an update says. A decimal number of a few bytes takes memory without end once it is a whole
one. And Twisted makes instances of each class that any of its modules has registered.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.python.reflect import qual
from twisted.spread import jelly
from twisted.spread.banana import BananaError
from twisted.spread.pb import CopyableFailure

ITEM: Final = 16
"""Bytes that an item counts for, besides those of its text: Python's own need more."""

_DEREFERENCE: Final = b"dereference"


def refers_to_another(item: Any) -> bool:
    """Return whether an item of a message may make it refer to a part of itself."""
    return type(item) is bytes and item == _DEREFERENCE


def make(message: Any, broker: Any) -> Any:
    """Return the value of *message*.

    :raises jelly.InsecureJelly: it has what no worker sends.
    """
    return jelly.unjelly(message, _ACCEPTED, None, broker)  # type: ignore[no-untyped-call]


def check_size(message: Any, most: int) -> None:
    """Refuse a message that refers to parts of itself if it has more than *most* bytes in full.

    :raises BananaError: in that case, and if it refers to itself or to what comes later.
    """
    _size(message, {}, most)


def _size(part: Any, named: dict[int, int], most: int) -> int:
    if type(part) is not list:
        return ITEM + (len(part) if isinstance(part, bytes) else 0)
    kind = part[0] if part else None
    if kind == _DEREFERENCE:
        return _of_named(part, named)
    size = ITEM
    for item in part:
        size += _size(item, named, most)
        if size > most:
            raise BananaError("a message refers to itself until it is too long")
    if kind == jelly.reference_atom and len(part) > 1 and type(part[1]) is int:
        named[part[1]] = size
    return size


def _of_named(part: list[Any], named: dict[int, int]) -> int:
    name = part[1] if len(part) > 1 else None
    if type(name) is not int or name not in named:
        raise BananaError("a message refers to what it does not have")
    return named[name]


class _Accepted(jelly.SecurityOptions):
    """Twisted's plain types but decimals, and failures; no class that somebody has registered."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.allowBasicTypes()  # type: ignore[no-untyped-call]
        failures = qual(CopyableFailure)
        self.allowTypes("remote", "local", failures)  # type: ignore[no-untyped-call]
        del self.allowedTypes[b"decimal"]

    def isTypeAllowed(self, typeName: Any) -> bool:  # noqa: N802, N803 - Twisted's
        """Return whether it is one of them; Twisted also takes each name with a dot in it."""
        return isinstance(typeName, bytes) and typeName in self.allowedTypes


_ACCEPTED: Final = _Accepted()
