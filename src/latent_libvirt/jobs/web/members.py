# SPDX-License-Identifier: GPL-2.0-only
"""Members of what others write: how a model reads them, and what it finds wrong, in plain words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import AfterValidator, BeforeValidator, ValidationError

T = TypeVar("T")

_NONE_SUCH: Final = "there is no such member"
_WORDS: Final = {
    "json_invalid": "it is no JSON: {error}",
    "missing": "is missing",
    "extra_forbidden": _NONE_SUCH,
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
    "uuid_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing_size": "must be a smaller number",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "too_short": "must not be empty",
    "too_long": "must have at most {max_length} members",
    "literal_error": "must be {expected}",
    "value_error": "{error}",
}
"""What is said of each kind of pydantic's errors, with what it knows of one."""

_OF_A_KEY: Final = "[key]"
"""What pydantic calls the name of a member, as against its value."""


@dataclass(frozen=True)
class Fault:
    """Something wrong in what somebody has written.

    :param where: the way to it: names of members, and numbers in lists.
    :param what: a sentence without its subject, like "must be text".
    """

    where: tuple[int | str, ...]
    what: str


def faults_in(error: ValidationError, *, none_such: str = _NONE_SUCH) -> Iterator[Fault]:
    """Yield what a model has found.

    :param none_such: what is said of a member that the model does not have.
    """
    words = _WORDS | {"extra_forbidden": none_such}
    for found in error.errors(include_url=False, include_input=False):
        way = found["loc"]
        # What is wrong with the name of a member is pointed at as the member is.
        where = way[:-1] if way[-1:] == (_OF_A_KEY,) else way
        template = words.get(found["type"])
        what = found["msg"] if template is None else template.format(**found.get("ctx", {}))
        yield Fault(where, what)


def written(reader: Callable[[str], T]) -> BeforeValidator:
    """Return what lets a model read a member by a strict reader of text.

    :param reader: raises a ``ValueError`` that says what a text must be.
    """

    def read(value: Any) -> Any:
        return reader(value) if isinstance(value, str) else value

    return BeforeValidator(read)


def _no_nul(value: T) -> T:
    if any("\0" in text for text in _texts_in(value)):
        raise ValueError("must not contain a NUL character")
    return value


def _texts_in(value: Any) -> Iterator[str]:
    """Yield all texts in a value that JSON can have, also the names of members."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        yield from _texts_in(list(value.values()))
    elif isinstance(value, list):
        for each in value:
            yield from _texts_in(each)


without_nul = AfterValidator(_no_nul)
"""Refuses what PostgreSQL cannot store, in a text or in any part of JSON."""
