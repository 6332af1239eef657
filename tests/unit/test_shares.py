# SPDX-License-Identifier: GPL-2.0-only
"""Shares of test files: each file is in one, and they are of about the same size."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from shares import files_of, shared_out

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "tests/unit"


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_each_file_of_the_unit_tests_is_in_one_share(count: int) -> None:
    files = files_of([str(UNIT)])
    shares = shared_out(files, count)

    assert Path(__file__) in files
    assert set().union(*shares) == files
    assert all(one.isdisjoint(other) for one, other in combinations(shares, 2))
    assert shares == shared_out(sorted(files), count)


def test_shares_differ_by_no_more_than_a_file() -> None:
    files = files_of([str(UNIT)])
    sizes = [sum(file.stat().st_size for file in share) for share in shared_out(files, 2)]

    assert max(sizes) - min(sizes) <= max(file.stat().st_size for file in files)


def test_files_that_took_long_are_in_different_shares(tmp_path: Path) -> None:
    files = [tmp_path / f"test_{name}.py" for name in ("long", "longer", "short", "new")]
    for file in files:
        file.write_text("pass\n")
    seconds = {str(file): taken for file, taken in zip(files, (4.0, 5.0, 0.5), strict=False)}

    one, other = shared_out(files, 2, seconds)

    assert {files[0] in one, files[1] in one} == {True, False}
    assert one | other == set(files)


def test_a_test_that_is_named_stands_for_its_file() -> None:
    assert files_of([f"{__file__}::test_one[a::b]", __file__]) == {Path(__file__)}


def test_more_shares_than_files_leave_some_empty() -> None:
    assert sorted(shared_out([Path(__file__)], 3), key=len) == [set(), set(), {Path(__file__)}]
