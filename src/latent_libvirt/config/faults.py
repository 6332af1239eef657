# SPDX-License-Identifier: GPL-2.0-only
"""Faults: what is wrong, and what would be right.

A fault becomes a located problem when ``load.py`` looks up where its value stands in the file.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

if TYPE_CHECKING:
    from latent_libvirt.config.text import Location

FAULT = "fault"
"""The type of the pydantic errors that are made here; their context has ``what`` and ``remedy``."""

KEY = "[key]"
"""What pydantic puts at the end of a location that means a key itself, not its value."""


def fault(what: str, remedy: str, *, beside: Iterable[str] = ()) -> PydanticCustomError:
    """Return what a validator raises.

    :param beside: other keys of the same host or label that the fault comes from.
    """
    context = {"what": what, "remedy": remedy, "beside": tuple(beside)}
    return PydanticCustomError(FAULT, "{what}; {remedy}", context)


def raise_located(title: str, faults: Iterable[tuple[Location, PydanticCustomError]]) -> None:
    """Raise all *faults* at once, each at its location below the model; nothing if there is none.

    :raises ValidationError: which pydantic merges into that of the whole document.
    """
    details = [InitErrorDetails(type=error, loc=location, input=None) for location, error in faults]
    if details:
        raise ValidationError.from_exception_data(title, details)
