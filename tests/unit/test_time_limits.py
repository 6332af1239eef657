# SPDX-License-Identifier: GPL-2.0-only
"""Limits on time: pytest ends a test that hangs after every wait of the test itself has failed."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WAITS = 3
"""How many waits of a long test may take as long as they are allowed to, in one test."""


def limits() -> dict[str, float]:
    """Return the seconds of one test, by directory."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    (long,) = re.findall(r"faulthandler_timeout=(\d+).*tests/long", (ROOT / "Makefile").read_text())
    return {"integration": float(settings["faulthandler_timeout"]), "long": float(long)}


def waits(directory: Path) -> Iterator[float]:
    """Yield the numbers of seconds that are called a deadline in tests."""
    for path in directory.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case (
                    ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=seconds))
                    | ast.keyword(arg=str(name), value=ast.Constant(value=seconds))
                ):
                    if "deadline" in name.lower() and isinstance(seconds, int | float):
                        yield float(seconds)


@pytest.mark.parametrize("kind", ["integration", "long"])
def test_a_wait_fails_before_pytest_ends_the_process(kind: str) -> None:
    longest = max(waits(ROOT / "tests" / kind))
    assert longest >= 60
    assert WAITS * longest <= limits()[kind]
