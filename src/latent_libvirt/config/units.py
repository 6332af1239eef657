# SPDX-License-Identifier: GPL-2.0-only
"""Sizes like ``512MiB`` and durations like ``1h30m``: from text to bytes and seconds, and back.

A number without a unit is refused, since people disagree about what it means, and so are decimal
units. That is why this is not ``pydantic.ByteSize``, which takes both, nor its ISO 8601 durations.
"""

from __future__ import annotations

import re
from decimal import Decimal

from latent_libvirt.config.faults import fault
from latent_libvirt.config.text import described

KIB, MIB, GIB, TIB = (1024**power for power in (1, 2, 3, 4))

SIZE_PATTERN = r"^[0-9]{1,15} ?(KiB|MiB|GiB|TiB)$"
DURATION_PATTERN = r"^(?=.)([0-9]{1,9}d)?([0-9]{1,9}h)?([0-9]{1,9}m)?([0-9]{1,9}(\.[0-9]{1,6})?s)?$"

_SIZE_UNITS = {"KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": TIB}
_DURATION_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_LONGEST_IN_HOURS = 24
"""Hours above which days are written, too: a limit of 24h is known by that name."""

_NUMBER_AND_UNIT = re.compile(r"([0-9.]+)([dhms])")
_NEARLY = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,6})?) *([A-Za-z]{0,10})")
_SIZE_ALIASES = {
    alias: unit
    for unit in _SIZE_UNITS
    for alias in (unit.lower(), f"{unit[0]}b".lower(), unit[0].lower(), unit[:2].lower())
}
_DURATION_ALIASES = {
    **dict.fromkeys(("d", "day", "days"), "d"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
}


def parse_size(text: object) -> int:
    """Return a size in bytes.

    :raises PydanticCustomError: if *text* is not a whole number with a binary unit.
    """
    match = re.fullmatch(SIZE_PATTERN, text) if isinstance(text, str) else None
    if match is None:
        raise _wrong_size(text)
    number = match[0].removesuffix(match[1])
    return int(number) * _SIZE_UNITS[match[1]]


def format_size(size: int) -> str:
    """Return *size* bytes as :func:`parse_size` reads them, in the largest unit that fits evenly.

    :raises ValueError: if there is none: *size* is not a multiple of 1024.
    """
    for unit, factor in reversed(_SIZE_UNITS.items()):
        if size % factor == 0 and size >= factor:
            return f"{size // factor}{unit}"
    raise ValueError(f"{size} is not a multiple of 1KiB")


def parse_duration(text: object) -> float:
    """Return a duration in seconds.

    :raises PydanticCustomError: if *text* is not made of days, hours, minutes and seconds, in this
        order.
    """
    if not isinstance(text, str) or not re.fullmatch(DURATION_PATTERN, text):
        raise _wrong_duration(text)
    return sum(float(n) * _DURATION_UNITS[unit] for n, unit in _NUMBER_AND_UNIT.findall(text))


def format_duration(seconds: float) -> str:
    """Return *seconds*, exact to microseconds, as :func:`parse_duration` reads them: ``1h30m``."""
    hours, rest = divmod(round(seconds * 10**6), 3600 * 10**6)
    minutes, micros = divmod(rest, 60 * 10**6)
    days, hours = divmod(hours, 24) if hours > _LONGEST_IN_HOURS else (0, hours)
    text = f"{days}d" * bool(days) + f"{hours}h" * bool(hours) + f"{minutes}m" * bool(minutes)
    if micros or not text:
        whole, fraction = divmod(micros, 10**6)
        text += f"{whole}.{fraction:06d}".rstrip("0").rstrip(".") + "s"
    return text


def _wrong_size(text: object) -> Exception:
    joined = _without_spaces(text)
    if re.fullmatch(SIZE_PATTERN, joined):
        return _has_spaces(text, joined)
    number, unit = _number_and_unit(text)
    if not number:
        return fault(
            f"{described(text)} is not a size", "write a number with its unit, like 512MiB"
        )
    if not unit:
        return _without_unit(number)
    meant = _SIZE_ALIASES.get(unit.lower())
    if meant is None:
        return fault(f"{unit!r} is not a unit of size", "use KiB, MiB, GiB or TiB, like 512MiB")
    if "." in number:
        return fault(f"{number}{unit} is not a whole number", f"write {_whole(number, meant)}")
    return fault(f"{unit!r} is not one of KiB, MiB, GiB and TiB", f"write {number}{meant}")


def _without_unit(size: str) -> Exception:
    meant = f"{size}MiB or {size}GiB" if Decimal(size) else "a size like 512MiB or 2GiB"
    return fault(f"the size {size} has no unit", f"write {meant}")


def _without_spaces(text: object) -> str:
    return "".join(text.split()) if isinstance(text, str) else ""


def _has_spaces(text: object, meant: str) -> Exception:
    return fault(f"{described(text)} has spaces that do not belong there", f"write {meant}")


def _whole(number: str, unit: str) -> str:
    """Return the nearest size without a fraction: 1.5 GiB is 1536MiB."""
    kibibytes = round(Decimal(number) * _SIZE_UNITS[unit] / KIB)
    return format_size(max(kibibytes, 1) * KIB)


def _wrong_duration(text: object) -> Exception:
    joined = _without_spaces(text)
    if re.fullmatch(DURATION_PATTERN, joined):
        return _has_spaces(text, joined)
    number, unit = _number_and_unit(text)
    if not number:
        return fault(
            f"{described(text)} is not a duration",
            "write days, hours, minutes and seconds with their units, like 90s, 1h30m or 3d",
        )
    if not unit:
        return fault(f"the duration {number} has no unit", f"write {number}s or {number}m")
    meant = _DURATION_ALIASES.get(unit.lower())
    if meant is None or (meant != "s" and "." in number):
        return fault(
            f"{described(text)} is not a duration", "use d, h, m and s, like 90s, 1h30m or 3d"
        )
    if meant == unit:
        return fault(f"{described(text)} is out of reach", "write nine digits at most")
    return fault(f"{unit!r} is not one of d, h, m and s", f"write {number}{meant}")


def _number_and_unit(text: object) -> tuple[str, str]:
    """Return the two halves of what nearly is a size or duration; nothing of what is not."""
    match = _NEARLY.fullmatch("" if isinstance(text, bool) else str(text).strip())
    return (match[1], match[2]) if match else ("", "")
