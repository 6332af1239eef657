# SPDX-License-Identifier: GPL-2.0-only
"""Console that prints tables: as wide as the terminal, and nothing is cut in a pipe or a file."""

from __future__ import annotations

import re
import sys
from typing import IO, Any, Final, cast

from rich.console import Console

UNCUT: Final = 4000
"""Columns of what is written to a file or a pipe. Tables take what they need of them."""

_FILLED: Final = re.compile(r"(?:(?<=^─{80})─+| +)$", re.MULTILINE)
"""What makes the lines of a table as long as the longest: spaces, and the rule below its head."""


def output_console(*, markup: bool = True) -> Console:
    """Return the console of the standard output. In a pipe, lines are as long as what they say."""
    console = Console(highlight=False, markup=markup)
    if console.is_terminal or sys.stdout is None:  # the second if it is closed
        return console
    file = cast("IO[str]", _ShortLines())
    return Console(highlight=False, markup=markup, width=UNCUT, file=file)


class _ShortLines:
    """Standard output without what fills the lines of a table up to the longest of them."""

    def write(self, text: str) -> int:
        """Write what the console has rendered, which is whole lines if it is a table."""
        return sys.stdout.write(_FILLED.sub("", text) if "\n" in text else text)

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stdout, name)
