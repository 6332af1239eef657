# SPDX-License-Identifier: GPL-2.0-only
"""Console of commands: tables in a pipe have lines as long as what they say."""

from __future__ import annotations

import sys

import pytest
from rich import box
from rich.table import Table

from latent_libvirt.cli.views.output import output_console

LONG = " ".join(["because"] * 50)


@pytest.fixture
def table() -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, show_edge=False)
    table.add_column("HOST")
    table.add_column("STATE", overflow="fold")
    table.add_row("alpha", "ready")
    table.add_row("beta", LONG)
    return table


@pytest.fixture(autouse=True)
def _a_width_that_programs_inherit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")


def test_nothing_is_cut_in_a_pipe_and_no_line_is_longer_than_what_it_says(
    table: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    output_console().print(table)

    assert capsys.readouterr().out.splitlines() == [
        "HOST    STATE",
        "─" * 80,
        "alpha   ready",
        f"beta    {LONG}",
    ]


def test_a_short_table_is_as_wide_as_ever(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("A", "B", box=box.SIMPLE, pad_edge=False, show_edge=False)
    table.add_row("a", "b")
    output_console().print(table)

    assert capsys.readouterr().out.splitlines() == ["A   B", "─────", "a   b"]


def test_a_closed_output_takes_all(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    output_console().print(table)


def test_a_line_may_be_printed_in_parts(capsys: pytest.CaptureFixture[str]) -> None:
    console = output_console()
    console.print("a ", end="")
    console.print("b")

    assert capsys.readouterr().out == "a b\n"
