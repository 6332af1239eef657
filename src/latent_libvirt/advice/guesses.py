# SPDX-License-Identifier: GPL-2.0-only
"""Guesses at the name that was meant by one that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_CLOSE = 0.65
"""Of 1 for equal names (difflib). 'firmware' and 'image' have 0.62, 'shh' and 'ssh' 0.67."""

_BEGINNING = 3
_LONGEST_GUESSED = 80


def nearest(given: str, known: Iterable[str]) -> str | None:
    """Return the one of *known* that *given* is a slip of, if it plausibly is one.

    A slip is a letter or two, another case or separator, or a name that was not written to its end,
    or beyond it.
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
    if begun:
        is_one = all(letters.startswith(begun[0]) for letters in begun)
        return names[begun[0]] if is_one else None
    within = [each for each in names if len(each) >= _BEGINNING and _goes_on(wanted, each)]
    return names[max(within, key=len)] if within else None


def _goes_on(wanted: str, name: str) -> bool:
    """Whether *wanted* is *name* and more letters; with more words it is another thing."""
    return wanted.startswith(name) and wanted[len(name) :].isalpha()


def _closeness(wanted: str, letters: str) -> float:
    return difflib.SequenceMatcher(None, letters, wanted).ratio()


def _letters(name: str) -> str:
    return name.lower().replace("_", "-").replace(" ", "-")
