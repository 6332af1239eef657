# SPDX-License-Identifier: GPL-2.0-only
"""Console that prints tables: as wide as the terminal, and nothing is cut in a pipe or a file."""

from __future__ import annotations

from typing import Final

from rich.console import Console

UNCUT: Final = 4000
"""Columns of what is written to a file or a pipe. Tables take what they need of them."""


def output_console(*, markup: bool = True) -> Console:
    """Return the console of the standard output."""
    console = Console(highlight=False, markup=markup)
    if console.is_terminal:
        return console
    return Console(highlight=False, markup=markup, width=UNCUT)
