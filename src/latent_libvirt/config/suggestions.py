# SPDX-License-Identifier: GPL-2.0-only
"""Suggestions: which of the known names was meant, or all of them."""

from __future__ import annotations

from collections.abc import Iterable

from latent_libvirt.advice.guesses import nearest
from latent_libvirt.config.text import quoted

_MOST_SHOWN = 50


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
