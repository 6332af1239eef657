# SPDX-License-Identifier: GPL-2.0-only
"""Unit tests that hypothesis generates cases for, with twenty times as many cases."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_generated_cases_find_nothing_in_long_runs_either(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "--numprocesses=auto", f"--basetemp={tmp_path}/run"),
            *("--hypothesis-profile=long", "-m", "hypothesis", "tests/unit"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=7200,
    )

    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
