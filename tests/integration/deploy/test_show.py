# SPDX-License-Identifier: GPL-2.0-only
"""``make multimaster`` as people run it, with few jobs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import children

JOBS = 10


def test_masters_that_are_killed_and_stopped_cost_no_job(
    pytestconfig: pytest.Config, cache: Path
) -> None:
    before = set(cache.glob("show-*"))
    show = subprocess.run(
        [
            *(*children.WITH_US, sys.executable, "deploy/multimaster/show.py"),
            *("--jobs", str(JOBS), "--failover", "300"),
        ],
        cwd=pytestconfig.rootpath,
        env=os.environ | {"PYTHONPATH": "deploy/demo"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert show.returncode == 0, show.stdout + show.stderr
    verdict = json.loads(show.stdout.splitlines()[-1])
    assert verdict["accepted"] == verdict["finished"] == JOBS
    assert verdict["lost"] == verdict["doubled"] == 0
    assert verdict["max_vms_seen"] <= verdict["slots"]
    assert set(cache.glob("show-*")) == before
