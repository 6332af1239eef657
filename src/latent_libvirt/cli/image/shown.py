# SPDX-License-Identifier: GPL-2.0-only
"""Output of ``latent-libvirt image``: stages, progress and images."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Self

import click
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from latent_libvirt.cli.views.output import output_console
from latent_libvirt.images.progress import Reporter

if TYPE_CHECKING:
    from pathlib import Path

    from latent_libvirt.images.description import Description

console = output_console()


def say(description: Description, what: str) -> None:
    """Say *what* of an image."""
    name = f"[bold]{description.name} {description.short_digest}[/bold]"
    console.print(f"[green]✓[/green] {name} ", end="")
    console.print(what, markup=False, soft_wrap=True)


def say_made(description: Description, directory: Path) -> None:
    """Say where a new image is, and what labels for it have to have."""
    say(description, str(directory))
    if description.firmware == "uefi":
        console.print("It boots by UEFI only. Labels for it have firmware: uefi.", markup=False)


def table(descriptions: list[Description]) -> Table:
    """Return a row for each image."""
    signed = any(each.signature for each in descriptions)
    uefi = any(each.firmware != "bios" for each in descriptions)
    more = [*["firmware"] * uefi, *["signed"] * signed]
    rows = Table("name", "digest", "arch", "built", "files", "disk", *more, box=None)
    for each in descriptions:
        rows.add_row(
            each.name,
            each.short_digest,
            each.architecture,
            f"{each.created:%Y-%m-%d %H:%M} UTC",
            f"{each.parts.size / 2**20:.0f} MiB",
            f"{each.virtual_size / 2**30:.0f} GiB",
            *[each.firmware] * uefi,
            *["yes" if each.signature else "no"] * signed,
        )
    return rows


def _progress(*columns: ProgressColumn) -> Progress:
    """Return what shows progress on a terminal, and nothing elsewhere."""
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


@contextmanager
def moving(title: str) -> Iterator[Callable[[int, int], None]]:
    """Give what shows bytes done, of bytes in all, as a bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(True))
    with _progress(*columns, TransferSpeedColumn()) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


class Once:
    """Something to say, when it is called for the first time."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __call__(self) -> None:
        """Say it."""
        if self._text:
            console.print(self._text, markup=False)
        self._text = ""


def warn(text: str) -> None:
    """Say what the operator should know, on the standard error."""
    click.secho(f"! {text}", fg="yellow", err=True)


def as_documents(descriptions: list[Description]) -> list[dict[str, Any]]:
    """Return the images as programs read them."""
    return [
        {
            **json.loads(each.to_json()),
            "architecture": each.architecture,
            "firmware": each.firmware,
            "signed": each.signature is not None,
            "size": each.parts.size,
        }
        for each in descriptions
    ]


_noted: Final[set[str]] = set()


def note(text: str) -> None:
    """Say what the operator should know, once."""
    if text not in _noted:
        console.print(text, markup=False, style="yellow")
    _noted.add(text)


_LOG_INTERVAL: Final = 20.0
"""Seconds without a line in a log until a detail is one."""


class Stages(Reporter):
    """Shows the stages of a build: on a terminal the one that it is in, with details and a clock.

    Elsewhere, such as in a log, each stage is one line, and so is a detail of a long stage.
    """

    def __init__(self) -> None:
        columns = (SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
        detail = TextColumn("[dim]{task.fields[detail]}[/dim]", markup=True)
        self._progress = _progress(*columns, detail)
        self._task = self._progress.add_task("", total=None, detail="")
        self._last_line = time.monotonic()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._progress.stop()

    def stage(self, text: str) -> None:
        """Show what is done now."""
        self._progress.update(self._task, description=text, detail="")
        self._log(f"  {text}")

    def detail(self, text: str) -> None:
        """Show more of the stage."""
        self._progress.update(self._task, detail=text.replace("[", r"\["))
        if time.monotonic() - self._last_line >= _LOG_INTERVAL:
            self._log(f"    {text}")

    def _log(self, line: str) -> None:
        if not console.is_terminal:
            console.print(line, markup=False)
            self._last_line = time.monotonic()

    def note(self, text: str) -> None:
        """Show what the operator should know."""
        console.print(text, markup=False, style="yellow")
