# SPDX-License-Identifier: GPL-2.0-only
"""Raw data of a run: files of JSON lines, one for each kind of measurement."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def append(path: Path, rows: Iterable[Row]) -> None:
    """Add rows to a file."""
    with path.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def rows(path: Path) -> list[Row]:
    """Return the rows of a file; none if it is not there. A last line that breaks off is left out.

    Processes that are killed leave such a line.
    """
    if not path.exists():
        return []
    lines = path.read_text().split("\n")[:-1]
    return [json.loads(line) for line in lines if line.strip()]
