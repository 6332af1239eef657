# SPDX-License-Identifier: GPL-2.0-only
"""Times: how long something may take, and when it is."""

from __future__ import annotations

import functools
from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from croniter import CroniterBadDateError, croniter
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Strict,
)

from latent_libvirt.advice.guesses import nearest
from latent_libvirt.config.faults import fault
from latent_libvirt.config.fields.base import Written, as_text, text_schema
from latent_libvirt.config.text import quoted
from latent_libvirt.config.units import (
    DURATION_PATTERN,
    format_duration,
    parse_duration,
)

LONGEST_TIMEOUT = 24 * 3600.0
LONGEST_TIME = 30 * 24 * 3600.0
_CRON_FIELDS = ("minute", "hour", "day of the month", "month", "day of the week")
_ANY_DAY = datetime(2024, 1, 1)  # noqa: DTZ001 - cron has no time zone


def _timeout(seconds: float) -> float:
    if not 0 < seconds <= LONGEST_TIMEOUT:
        given = format_duration(seconds)
        raise fault(f"{given} is no time to wait for", "write more than 0s, and at most 24h")
    return seconds


def _long_time(seconds: float) -> float:
    if not 0 < seconds <= LONGEST_TIME:
        given = format_duration(seconds)
        raise fault(f"{given} is out of reach", "write more than 0s, and at most 30d")
    return seconds


def _cron(text: str) -> str:
    if len(text.split()) != len(_CRON_FIELDS) or not croniter.is_valid(text):
        raise fault(
            f"{quoted(text)} is not a time as in cron",
            f"write {', '.join(_CRON_FIELDS)}, like '* 7-18 * * mon-fri'",
        )
    if not _ever_comes(text):
        raise fault(
            f"{quoted(text)} never comes: no such month has that day",
            "correct the day of the month, or the month",
        )
    return text


def _ever_comes(cron: str) -> bool:
    """Whether any day of the next years matches; the 29th of February does."""
    try:
        croniter(cron, _ANY_DAY).get_next(datetime)
    except CroniterBadDateError:
        return False
    return True


@functools.cache
def zone_info(name: str) -> ZoneInfo:
    """Return the time zone of that name; its file is read when the configuration is, and kept.

    Python keeps only a few, and would read others again on the reactor's thread.
    """
    return ZoneInfo(name)


@functools.cache
def _time_zones() -> tuple[str, ...]:
    return tuple(sorted(available_timezones()))


def _time_zone(text: str) -> str:
    try:
        zone_info(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        near = nearest(text, _time_zones())
        remedy = f"did you mean {near!r}?" if near else "write one like 'Europe/Prague' or 'UTC'"
        raise fault(f"there is no time zone {quoted(text)}", remedy) from None
    return text


Timeout = Annotated[
    float,
    BeforeValidator(parse_duration),
    AfterValidator(_timeout),
    as_text(format_duration),
    text_schema(pattern=DURATION_PATTERN),
    Written("duration"),
]

LongTime = Annotated[
    float,
    BeforeValidator(parse_duration),
    AfterValidator(_long_time),
    as_text(format_duration),
    text_schema(pattern=DURATION_PATTERN),
    Written("duration"),
]

Cron = Annotated[
    str, Strict(), AfterValidator(_cron), text_schema(pattern=r"^\S+( +\S+){4}$"), Written("text")
]

TimeZone = Annotated[
    str, Strict(), AfterValidator(_time_zone), text_schema(minLength=1), Written("text")
]
