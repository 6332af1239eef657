# SPDX-License-Identifier: GPL-2.0-only
"""JSON that everybody reads alike, and that is cheap to read.

Python takes more than RFC 8259 allows (``NaN``), reads some numbers as others (``1e400`` is
infinite; other parsers have no integer beyond 2^53), and keeps the last of two members of one name.
What is read here is also bounded, by one scan of the bytes that ends at the first bound, before
anything is made of them.
"""

from __future__ import annotations

import json
import math
import re
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

DEEPEST = 32
"""Arrays and objects within each other."""

MOST_TOKENS = 10_000
"""Values, names of members, and brackets."""

MOST_MEMBERS = 1000
"""Members of one object."""

LONGEST_SCALAR = 64
"""Characters of a number."""

LARGEST_INTEGER = 2**53
"""What a double holds exactly, and so every parser (RFC 7493)."""

# Possessive: nothing is tried twice, whatever comes. A text that never ends is one token.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[{]|[\]}]|[^\s"\[\]{},:]++', re.DOTALL)


class NoJsonError(ValueError):
    """It is no JSON."""


class BoundError(ValueError):
    """It is more than is read."""


class MeaningError(ValueError):
    """It is JSON, but not everybody would read the same."""


def loads(data: bytes) -> Any:
    """Return what *data* says.

    :raises NoJsonError: if it is no JSON, in UTF-8.
    :raises BoundError: if it is too deep, has too many members, or too long a number.
    :raises MeaningError: if a number or a member could be read in two ways.
    """
    _check_bounds(data)
    try:
        found = json.loads(
            _decoded(data),
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_float,
            object_pairs_hook=_object,
        )
    except (BoundError, MeaningError, NoJsonError):
        raise
    except ValueError as error:
        raise NoJsonError(str(error)) from None
    if not is_text_of(found):
        raise NoJsonError("a text has half a character (a lone surrogate)")
    return found


def refuse_twins(data: bytes) -> None:
    """Refuse JSON that has two members of one name in an object.

    :param data: what a model has found to be as it expects, so that it has an end.
    :raises MeaningError: if it has.
    """
    json.loads(data, object_pairs_hook=_object)


def _decoded(data: bytes) -> str:
    if data.startswith(BOM_UTF8):
        raise NoJsonError("it begins with a byte order mark")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise NoJsonError(f"it is no UTF-8 at byte {error.start + 1}") from None


def dumps(document: Any, *, indent: int | None = None) -> str:
    """Return a document as JSON; what JSON cannot say of a number is null.

    The database may have such, from builds and from earlier releases.
    """
    try:
        return json.dumps(document, indent=indent, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(document), indent=indent, allow_nan=False)


def is_text_of(value: Any) -> bool:
    """Whether all texts in a value can be written in UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_bounds(data: bytes) -> None:
    """Look at brackets, numbers and how much there is, and stop as soon as it is too much."""
    depth = 0
    for count, match in enumerate(_TOKEN.finditer(data)):
        token = match[0]
        if token in (b"[", b"{"):
            depth += 1
        elif token in (b"]", b"}"):
            depth -= 1
        elif token[:1] != b'"' and len(token) > LONGEST_SCALAR:
            raise _too_much(data, f"a number has more than {LONGEST_SCALAR} characters")
        if depth > DEEPEST:
            raise _too_much(data, f"it is more than {DEEPEST} arrays and objects deep")
        if count >= MOST_TOKENS:
            raise _too_much(data, f"it has more than {MOST_TOKENS} values, names and brackets")


def _too_much(data: bytes, why: str) -> ValueError:
    """Return what is wrong; what never ends would be no JSON however much were read."""
    ends = {b"[": b"]", b"{": b"}"}
    if ends.get(data.lstrip()[:1], b"") != data.rstrip()[-1:]:
        return NoJsonError("it does not end as it begins")
    return BoundError(why)


def _constant(name: str) -> NoReturn:
    raise NoJsonError(f"{name} is no JSON")


def _integer(text: str) -> int:
    if abs(number := int(text)) > LARGEST_INTEGER:
        raise MeaningError(f"{text} is beyond 2^53, where numbers are not exact: send it as text")
    return number


def _float(text: str) -> float:
    number = float(text)
    if math.isinf(number) or not _is_exactly(text, number):
        raise MeaningError(f"{text} would be read as {number}: send it as text")
    return number


def _is_exactly(text: str, number: float) -> bool:
    """Whether that is what is written; exponents have an end for decimal numbers, too."""
    try:
        return Decimal(text) == Decimal(repr(number))
    except InvalidOperation:
        return False


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(members) > MOST_MEMBERS:
        raise BoundError(f"an object has more than {MOST_MEMBERS} members")
    found = dict(members)
    if len(found) < len(members):
        (twice, _times), *_rest = Counter(name for name, _value in members).most_common(1)
        raise MeaningError(f"the member {twice!r} is there more than once")
    return found


def _finite(value: Any) -> Any:
    """Return a value in which every number is one."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value
