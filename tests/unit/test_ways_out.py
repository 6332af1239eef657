# SPDX-License-Identifier: GPL-2.0-only
"""Ways out of a guest without a network: the page about security lists those that a test tries."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import ways_out

PAGE = Path(__file__).parents[2] / "docs/explanation/security.md"


def tried() -> list[str]:
    """Return the names of the functions that are a way."""
    return [
        node.name
        for node in ast.parse(ways_out.PROGRAM).body
        if isinstance(node, ast.FunctionDef)
        and any(isinstance(each, ast.Name) and each.id == "way" for each in node.decorator_list)
    ]


def test_each_way_out_that_is_tried_is_documented() -> None:
    documented = re.findall(r"^\| `(\w+)` \| [^|]+ \|$", PAGE.read_text(), re.MULTILINE)
    assert len(documented) >= 20
    assert documented == tried()
