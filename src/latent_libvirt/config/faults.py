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


_CLOSE = 0.65
"""Of 1 for equal names (difflib). 'firmware' and 'image' have 0.62, 'shh' and 'ssh' 0.67."""

_BEGINNING = 3
_LONGEST_GUESSED = 80
_MOST_SHOWN = 30


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
    near = nearest(given, names)
    if near is not None:
        return f"did you mean {near!r}?"
    shown = ", ".join(map(quoted, names[:_MOST_SHOWN]))
    more = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    return f"{kind}: {shown}{more}" if names else f"there are no {kind}"


def nearest(given: str, known: Iterable[str]) -> str | None:
    """Return the one of *known* that *given* is a slip of, if it plausibly is one.

    A slip is a letter or two, another case or separator, or a name that was not written to its end.
    """
    wanted, names = _letters(given[:_LONGEST_GUESSED]), {_letters(name): name for name in known}
    if wanted in names:
        return names[wanted]
    near = difflib.get_close_matches(wanted, names, n=2, cutoff=_CLOSE)
    if near:
        # Where two are as close, which of them is meant is not known.
        closest = {_closeness(wanted, letters) for letters in near}
        return names[near[0]] if len(closest) == len(near) else None
    if len(wanted) < _BEGINNING:
        return None
    begun = sorted(letters for letters in names if letters.startswith(wanted))
    is_one = begun and all(letters.startswith(begun[0]) for letters in begun)
    return names[begun[0]] if is_one else None


def _closeness(wanted: str, letters: str) -> float:
    return difflib.SequenceMatcher(None, letters, wanted).ratio()


def _letters(name: str) -> str:
    return name.lower().replace("_", "-").replace(" ", "-")
