# SPDX-License-Identifier: GPL-2.0-only
"""Parts that are common to the commands that talk to a running master."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

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


def count(number: int, thing: str) -> str:
    """Return *number* things in words."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
