# SPDX-License-Identifier: GPL-2.0-only
"""Kinds of tests: pytest runs without its plugin for unittest, and would not find a TestCase."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_no_test_is_one_that_pytest_does_not_find() -> None:
    others = [file for file in TESTS.rglob("*.py") if file != Path(__file__)]

    assert len(others) > 500
    assert [
        f for f in others if re.search(r"\bTestCase\b|(?:import|from) unittest", f.read_text())
    ] == []
