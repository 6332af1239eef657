# SPDX-License-Identifier: GPL-2.0-only
"""Numbers of options, which Click's own types read as generously as Python."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from latent_libvirt.cli.numbers import Seconds, WholeNumber


@click.command
@click.option("--count", type=WholeNumber(-5, 20))
@click.option("--wait", type=Seconds(min=0, min_open=True))
def command(count: int | None, wait: float | None) -> None:
    click.echo(repr(count or wait))


@pytest.mark.parametrize(
    ("option", "printed"), [("--count=7", "7"), ("--count=-5", "-5"), ("--wait=2.5", "2.5")]
)
def test_a_number_is_read_as_it_is_written(option: str, printed: str) -> None:
    assert CliRunner().invoke(command, [option]).output == f"{printed}\n"


@pytest.mark.parametrize("text", ["1_0", " 5", "+5", "\u0663", "1e1", "", "9" * 5000])
def test_what_only_python_takes_is_refused(text: str) -> None:
    for option in ("--count", "--wait"):
        result = CliRunner().invoke(command, [f"{option}={text}"])
        assert result.exit_code == 2
        assert "is not a" in result.output


@pytest.mark.parametrize("option", ["--count=21", "--wait=0"])
def test_what_is_out_of_range_is_refused(option: str) -> None:
    result = CliRunner().invoke(command, [option])
    assert result.exit_code == 2
    assert "is not in the range" in result.output


def test_no_number_is_refused() -> None:
    assert "is not a number of seconds" in CliRunner().invoke(command, ["--wait=nan"]).output
