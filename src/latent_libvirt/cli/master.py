# SPDX-License-Identifier: GPL-2.0-only
"""What the commands that talk to a running master share."""

from __future__ import annotations

from pathlib import Path

import click

socket_option = click.option(
    "--socket",
    "where",
    type=click.Path(path_type=Path),
    default=".",
    metavar="PATH",
    help="The master's base directory, or the socket in it; the current directory, if not given.",
)
"""Binds ``where``."""

host_option = click.option("--host", "kind", flag_value="host", help="NAME is a host.")
label_option = click.option("--label", "kind", flag_value="label", help="NAME is a label.")
"""Both bind ``kind``: needed where a host and a label have the same name."""


def count(number: int, thing: str) -> str:
    """Return *number* things in words."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
