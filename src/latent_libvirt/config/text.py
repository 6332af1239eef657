# SPDX-License-Identifier: GPL-2.0-only
"""Text about what stands in a file, and where: one line, printable, and not too long."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

Location = tuple[str | int, ...]
"""Where in the document: the keys and list indexes from the root, as pydantic gives them."""

_PLAIN_KEY = re.compile(r"[\w-]+")
_LONGEST_SHOWN = 60


def path_text(location: Sequence[str | int]) -> str:
    """Return a location as people write it: ``labels.debian-12.hosts[1]``."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part if _PLAIN_KEY.fullmatch(part) else quoted(part)}"
    return text.removeprefix(".")


def quoted(text: str) -> str:
    """Return *text* in quotes, on one line, printable, and cut if it is long."""
    return repr(cut(text))


def cut(text: str) -> str:
    """Return *text*, or its beginning if it is long."""
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"


def described(value: object) -> str:
    """Say what stands somewhere, without pouring out all of it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the value {str(value).lower()}"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text {quoted(value)}"
    return "a mapping" if isinstance(value, Mapping) else "a list"
