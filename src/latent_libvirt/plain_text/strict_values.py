# SPDX-License-Identifier: GPL-2.0-only
"""Values that others write as text, read in the one way that everybody writes them.

Python's ``int`` takes ``1_0``, `` +5`` and the digits of any script, and fails at 4,301 of them.
``datetime.fromisoformat`` takes weeks and times without a zone, and ``UUID`` takes braces. Other
programs read something else in such a text, or nothing.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final
from uuid import UUID

_WHOLE_NUMBER: Final = re.compile("0|-?[1-9][0-9]{0,17}")
_FRACTION: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_DATE: Final = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME: Final = r"[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?"
_ZONE: Final = "Z|[+-][0-9]{2}:[0-9]{2}"
_MOMENT: Final = re.compile(f"{_DATE}T{_TIME}({_ZONE})", re.IGNORECASE)
_UUID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}", re.IGNORECASE)


def whole_number(text: str) -> int:
    """Return the number that *text* is: decimal digits, with a minus if it is negative.

    :raises ValueError: if it is none, or has more than 18 digits.
    """
    return int(_matching(_WHOLE_NUMBER, text, "must be a whole number"))


def decimal_number(text: str) -> float:
    """Return the number that *text* is: decimal digits, with a point if it has a fraction.

    :raises ValueError: if it is none, or is negative, or has more than nine digits in a row.
    """
    return float(_matching(_FRACTION, text, "must be a number like 10 or 2.5"))


def moment(text: str) -> datetime:
    """Return the time that *text* is, as RFC 3339 has it: with seconds, and a zone.

    :raises ValueError: if it is none.
    """
    wanted = "must be a time like 2026-01-31T08:00:00Z or 2026-01-31T09:00:00+01:00"
    try:
        return datetime.fromisoformat(_matching(_MOMENT, text, wanted).upper())
    except ValueError:
        raise ValueError(wanted) from None


def uuid(text: str) -> UUID:
    """Return the UUID that *text* is: 32 hexadecimal digits, in five groups or in one.

    :raises ValueError: if it is none.
    """
    wanted = "must be a UUID like 0f1c2d3e-4f50-4a61-8b72-9c83ad94be05"
    return UUID(_matching(_UUID, text, wanted))


def _matching(pattern: re.Pattern[str], text: str, wanted: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(wanted)
    return text
