# SPDX-License-Identifier: GPL-2.0-only
"""Parts that are common to the commands that talk to a running master."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import click
from pydantic_core import PydanticCustomError

from latent_libvirt.config.units import format_duration, parse_duration

socket_option = click.option(
    "--socket",
    "where",
    type=click.Path(path_type=Path),
    default=".",
    metavar="PATH",
    help="The master's base directory, or the socket in it. By default, the current directory.",
)
"""Binds ``where``."""

host_option = click.option("--host", "kind", flag_value="host", help="NAME is a host.")
label_option = click.option("--label", "kind", flag_value="label", help="NAME is a label.")
"""Both bind ``kind``: needed where a host and a label have the same name."""


def duration_of_at_most(longest: float) -> Callable[[str], float]:
    """Return the type of an option that is a duration as in pool.yaml.

    :param longest: seconds.
    """

    def duration(text: str) -> float:
        try:
            seconds = parse_duration(text)
        except PydanticCustomError as error:
            raise click.BadParameter(error.message()) from None
        if not 0 < seconds <= longest:
            raise click.BadParameter(f"it has to be over 0s, and up to {format_duration(longest)}")
        return seconds

    return duration


_DATE: Final = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME: Final = "[0-9]{2}:[0-9]{2}(:[0-9]{2})?"
_ZONE: Final = "Z|[+-][0-9]{2}:[0-9]{2}"
_MOMENT: Final = re.compile(f"{_DATE}([T ]{_TIME}({_ZONE})?)?")


def moment(text: str) -> datetime:
    """Return the moment that an option names: a date, a time, or a duration before now.

    A date is its midnight. Without a zone, both are those of this machine's clock.
    """
    try:
        if text[:1].isdigit() and text[-1:] in {*"dhms"}:
            now = datetime.now(UTC)
            return now - timedelta(seconds=min(parse_duration(text), now.timestamp()))
        if not _MOMENT.fullmatch(text):
            raise click.BadParameter(f"{text!r} is no time. {_WRITE_A_TIME}")
        return datetime.fromisoformat(text).astimezone()
    except PydanticCustomError as error:
        raise click.BadParameter(f"{error.message()}. {_WRITE_A_TIME}") from None
    except (ValueError, OverflowError):
        what = f"{text!r} is in no calendar, or on no clock"
        raise click.BadParameter(f"{what}. {_WRITE_A_TIME}") from None


_WRITE_A_TIME: Final = (
    "Write a date like 2026-11-01, a time like 2026-11-01T08:30 or 2026-11-01T08:30:00+01:00, or "
    "a duration before now like 30d or 12h. Without a zone, a time is that of this machine's clock."
)


def clock_time(moment: datetime) -> str:
    """Return a moment by this machine's clock, with its zone."""
    return moment.astimezone().isoformat(sep=" ", timespec="seconds")


def count(number: int, thing: str) -> str:
    """Return *number* things in words."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
