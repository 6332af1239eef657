# SPDX-License-Identifier: GPL-2.0-only
"""docs/explanation/faults.md names tests: they are there, and each test of a fault is named."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs/explanation/faults.md").read_text()
INTEGRATION, LONG = ROOT / "tests/integration", ROOT / "tests/long"


@cache
def _tests_in(file: str) -> list[str]:
    folder = INTEGRATION if (INTEGRATION / file).exists() else LONG
    text = (folder / file).read_text()
    return re.findall(r"^(?:async )?def (test_\w+)", text, re.MULTILINE)


@cache
def _every_test() -> list[str]:
    folders = (INTEGRATION, LONG)
    files = (
        str(file.relative_to(folder)) for folder in folders for file in folder.rglob("test_*.py")
    )
    return [test for file in files for test in _tests_in(file)]


@pytest.mark.parametrize("file", sorted(set(re.findall(r"(?:host/)?test_\w+\.py", TABLE))))
def test_each_file_that_is_named_is_there(file: str) -> None:
    assert _tests_in(file)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"(test_\w+)(?!\.py|\w)", TABLE))))
def test_each_test_that_is_named_is_there(name: str) -> None:
    assert any(test.startswith(name) for test in _every_test())


@pytest.mark.parametrize("file", ["test_faults.py", "test_silent_hosts.py"])
def test_each_test_of_a_fault_is_named(file: str) -> None:
    named = re.findall(r"(test_\w+)(?!\.py|\w)", TABLE)
    assert [t for t in _tests_in(file) if not any(t.startswith(name) for name in named)] == []
