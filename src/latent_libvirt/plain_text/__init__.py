# SPDX-License-Identifier: GPL-2.0-only
"""Text of others, as one line that a terminal shows and does not obey.

What clients, guests and hosts write may hold escape sequences, line ends, and characters that turn
the text around them. Here each of these becomes an escape that can be read.
"""

from __future__ import annotations

import os
import re
from dataclasses import fields, is_dataclass, replace
from typing import Any, Final, TypeVar

Document = TypeVar("Document")

_KEPT: Final = 200
_LONG_WORD: Final = re.compile(r"\S{5000,}")
"""No path of Linux is as long (PATH_MAX)."""


def display_name(path: str | os.PathLike[str]) -> str:
    """Return a file's name as text on one line that can be printed, whatever its bytes are."""
    return as_text(os.fsencode(path).decode("utf-8", "backslashreplace"))


def as_text(text: object) -> str:
    r"""Return a text in which all that is not printable is written out, like ``\x1b``."""
    return "".join(c if c.isprintable() else _written_out(c) for c in str(text))


def shown(text: str) -> str:
    """Return text of several lines for a terminal, without what commands it or fills it.

    A word of such a length is no path or name that can be used, but what somebody has pasted.
    """
    kept = (as_text(part) if part not in "\n\t" else part for part in re.split("([\n\t])", text))
    return _LONG_WORD.sub(_shortened, "".join(kept))


def all_shown(document: Document) -> Document:
    """Return a document of dataclasses, mappings and sequences whose texts are :func:`shown`."""
    made: Document = _all_shown(document)
    return made


def _all_shown(document: Any) -> Any:
    match document:
        case str():
            return shown(document)
        case tuple() | list():
            return type(document)(_all_shown(each) for each in document)
        case dict():
            return {_all_shown(key): _all_shown(value) for key, value in document.items()}
    if not is_dataclass(document) or isinstance(document, type):
        return document
    changed = {each.name: _all_shown(getattr(document, each.name)) for each in fields(document)}
    return replace(document, **changed)


def _shortened(word: re.Match[str]) -> str:
    return f"{word[0][:_KEPT]}… ({len(word[0])} characters)"


def _written_out(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
