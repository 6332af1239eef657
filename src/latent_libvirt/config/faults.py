# SPDX-License-Identifier: GPL-2.0-only
"""How a validator says what is wrong and what would be right, and guesses what was meant.

A fault becomes a located problem when ``load.py`` looks up where its value stands in the file.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from latent_libvirt.config.problems import Location, quoted

FAULT = "fault"
"""The type of the pydantic errors that are made here; their context has ``what`` and ``remedy``."""

KEY = "[key]"
"""What pydantic puts at the end of a location that means a key itself, not its value."""


def fault(what: str, remedy: str) -> PydanticCustomError:
    """Return what a validator raises."""
    return PydanticCustomError(FAULT, "{what}; {remedy}", {"what": what, "remedy": remedy})


def raise_located(title: str, faults: Iterable[tuple[Location, PydanticCustomError]]) -> None:
    """Raise all *faults* at once, each at its location below the model; nothing if there is none.

    :raises ValidationError: which pydantic merges into that of the whole document.
    """
    details = [InitErrorDetails(type=error, loc=location, input=None) for location, error in faults]
    if details:
        raise ValidationError.from_exception_data(title, details)


def suggestion(given: str, known: Iterable[str], *, kind: str) -> str:
    """Return what would be right where one of *known* belongs: the near miss, or all of them.

    :param kind: what they are called, in the plural.
    """
    names = list(known)
    near = difflib.get_close_matches(given.lower(), names, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"{kind}: {', '.join(map(quoted, names))}" if names else f"there are no {kind}"
