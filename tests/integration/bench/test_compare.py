# SPDX-License-Identifier: GPL-2.0-only
"""``make bench-compare`` with the cheapest rival; the others take minutes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import children
from buildmaster import DEADLINE

CLONE = Path(__file__).parents[3]
SUPPORT = CLONE / "tests/support"


@contextmanager
def comparing(temporary: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Run the benchmark for the length of a ``with`` block."""
    command = [*children.WITH_US, sys.executable, str(CLONE / "bench/compare.py"), *options]
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT), "TMPDIR": str(temporary)}
    process = children.begun(
        lambda: subprocess.Popen(
            command,
            cwd=CLONE,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_run_of_the_bare_script_counts_what_its_kill_leaves_and_removes_it(
    tmp_path: Path,
) -> None:
    options = ("--rivals", "bare", "--rounds", "1", "--jobs", "1", "--vms", "1")
    with comparing(tmp_path, *options) as run:
        output, progress = run.communicate(timeout=3 * DEADLINE)

    assert run.returncode == 0, progress
    *_table, line = output.splitlines()
    (bare,) = json.loads(line)["rivals"].values()
    assert bare["left"] == {"processes": 1, "domains": 1, "files": 1}
    assert bare["kept"] > bare["disk"][0] > 0
    assert bare["memory"][0] > 0
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    with comparing(tmp_path, "--rivals", "bare", "--vms", "1") as run:
        assert run.stderr
        assert "gets ready" in run.stderr.readline()
        run.send_signal(signal.SIGINT)
        _output, progress = run.communicate(timeout=DEADLINE)

    assert run.returncode == 130
    assert progress.splitlines()[-1].endswith("no process, domain or file of this run is left")
    assert "Traceback" not in progress
    assert list(tmp_path.iterdir()) == []
