# SPDX-License-Identifier: GPL-2.0-only
"""How the demo shows what it does: a line per chapter, live on a terminal, and a table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.table import Table

LOG_INTERVAL: Final = 20.0  # seconds between two details in a log

console = Console(highlight=False)


@contextmanager
def chapter(title: str, about: str = "") -> Iterator[Callable[[str], None]]:
    """Show that *title* is being done, with the seconds it has taken, and then how long it took.

    Yields what shows the detail that is being worked on.

    :param about: more words on it, for where there is room.
    """
    began = time.monotonic()
    whole = f"{title}: {about}" if about else title
    with console.status(f"{whole} ...") as status:
        show = status.update if console.is_terminal else InLog()
        try:
            yield lambda detail: show(
                f"{title}: {detail} [dim]({time.monotonic() - began:.0f} s)[/dim]"
            )
        except BaseException:
            _end("[red]✗[/red]", whole, began)
            raise
    _end("[green]✓[/green]", whole, began)


class InLog:
    """Shows details where there is no terminal: a line at most every :data:`LOG_INTERVAL`."""

    def __init__(self) -> None:
        self._last_line = time.monotonic()

    def __call__(self, detail: str) -> None:
        """Print *detail*, unless the last line is too new."""
        if time.monotonic() - self._last_line >= LOG_INTERVAL:
            self._last_line = time.monotonic()
            console.print(f"  {detail}", soft_wrap=True)


def _end(sign: str, title: str, began: float) -> None:
    seconds = time.monotonic() - began
    console.print(f"{sign} {title} [dim]({seconds:.1f} s)[/dim]", soft_wrap=True)


def time_table(columns: Mapping[str, Mapping[str, float]]) -> None:
    """Print where the time went: one column per build, one row per phase, in seconds."""
    table = Table(title="Where the time went, in seconds", title_justify="left")
    table.add_column("phase")
    for name in columns:
        table.add_column(name, justify="right")
    for phase in dict.fromkeys(phase for phases in columns.values() for phase in phases):
        table.add_row(phase, *(_seconds(phases.get(phase)) for phases in columns.values()))
    table.add_section()
    table.add_row("all", *(_seconds(sum(phases.values())) for phases in columns.values()))
    console.print(table)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
