# SPDX-License-Identifier: GPL-2.0-only
"""Each benchmark runs to its end with the least to do, and its last line is JSON.

No figure is looked at. These runs find benchmarks that a change of the package has broken.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

DEADLINE = 3600.0
"""Seconds that one may take, on a machine that does other things."""


@pytest.mark.parametrize(
    "line",
    [
        "at_once --slots 2 --rounds 1",
        "attacks --posts 1 --connections 10 --lists 1 --mb 1",
        "blocked --count 0 10",
        "burst --jobs 2 --vms 2 --spares 1",
        "channel --rounds 1 --mb 1",
        "floods --rounds 1 --vms 2 --floods 1 --seconds 5",
        "freeze --rounds 1 --sizes 256",
        "growth --rounds 1 --rows reactor look_up",
        "live_edit --rounds 1",
        "multimaster --jobs 10 --rounds 1",
        "start --rounds 1",
        "usage --vms 3",
        "vm_life --rounds 1",
    ],
)
def test_a_benchmark_runs_to_its_end(line: str) -> None:
    name, *options = line.split()
    environment = os.environ | {"PYTHONPATH": f"{ROOT}/src:{ROOT}/tests/support"}

    done = subprocess.run(
        [sys.executable, f"bench/{name}.py", *options],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert isinstance(json.loads(done.stdout.splitlines()[-1]), dict)
