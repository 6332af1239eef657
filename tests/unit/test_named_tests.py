# SPDX-License-Identifier: GPL-2.0-only
"""Pages name tests as what backs them: each is there, under that name."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]
NAMED = {
    name: str(page.relative_to(ROOT))
    for page in PAGES
    for name in re.findall(r"(?<![\w/])(?:[\w-]+/)*test_\w+\.py(?:::test_\w+)?", page.read_text())
}
"""The page of each file and each test that is named."""


@cache
def _files() -> list[Path]:
    return sorted((ROOT / "tests").rglob("test_*.py"))


def test_pages_name_tests() -> None:
    assert sum("::" in name for name in NAMED) > 10


@pytest.mark.parametrize("name", NAMED)
def test_each_test_that_a_page_names_is_there(name: str) -> None:
    file, _, test = name.partition("::")
    found = [each for each in _files() if f"/{each.relative_to(ROOT)}".endswith(f"/{file}")]
    definition = re.compile(rf"^(?:async )?def {test}\(", re.MULTILINE)

    assert found, f"{NAMED[name]} names a file that is not there"
    assert not test or any(definition.search(each.read_text()) for each in found), NAMED[name]
