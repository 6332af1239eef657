# SPDX-License-Identifier: GPL-2.0-only
"""Raw data of a run: files of JSON lines, one for each kind of measurement."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from latent_libvirt.errors import ConfigurationError
from latent_libvirt.plain_text import display_name

Row = dict[str, Any]


def append(path: Path, rows: Iterable[Row]) -> None:
    """Add rows to a file."""
    with path.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def rows(path: Path) -> list[Row]:
    """Return the rows of a file; none if it is not there. A last line that breaks off is left out.

    Processes that are killed leave such a line.

    :raises ValueError: it is no regular file, or has what is no row.
    """
    if not path.exists():
        return []
    if not path.is_file():
        raise ValueError(f"{path.name} is not a regular file")
    lines = path.read_text().split("\n")[:-1]
    try:
        return [_row(line) for line in lines if line.strip()]
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} has a line that is no row: {error}") from None


def _row(line: str) -> Row:
    row = json.loads(line, parse_float=_finite, parse_constant=_finite)
    if not isinstance(row, dict):
        raise ValueError("it is no object")  # noqa: TRY004 - of what a file has
    return row


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number that was measured")
    return number


def make(directory: Path) -> None:
    """Make a directory for raw data; with it, its report is this run's.

    :raises ConfigurationError: another run has made it since this one began.
    """
    try:
        directory.mkdir(parents=True)
    except FileExistsError:
        raise ConfigurationError(
            f"another run writes its report into {display_name(directory.parent)}",
            resolution="Give each run another --report.",
        ) from None
