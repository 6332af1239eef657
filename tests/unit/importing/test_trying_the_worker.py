# SPDX-License-Identifier: GPL-2.0-only
"""The program that tries a guest's worker: it knows launchers of this version and earlier ones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from latent_libvirt.images import payload

REHEARSAL = """
class Rehearsal:
    def __init__(self, module):
        print("tries", module)
    def wait(self):
        return {good}
"""
WORKER = """
def import_worker():
    return "the worker"
"""


def write_directory(home: Path, *, good: bool) -> None:
    (home / "launcher").mkdir()
    for name in ("__init__.py", "life.py"):
        (home / "launcher" / name).touch()
    (home / "launcher/rehearsal.py").write_text(REHEARSAL.format(good=good))
    (home / "launcher/worker.py").write_text(WORKER)


def write_file(home: Path, *, good: bool) -> None:
    """Write a launcher as images had it that are in use, in one file."""
    (home / "launcher.py").write_text(REHEARSAL.format(good=good) + WORKER)


@pytest.mark.parametrize("write", [write_directory, write_file])
@pytest.mark.parametrize("good", [True, False])
def test_a_launcher_is_tried_whether_it_is_a_directory_or_one_file(
    tmp_path: Path, write: Callable[..., None], *, good: bool
) -> None:
    write(tmp_path, good=good)
    shell = (payload.source() / "common").read_text()
    program = shell.partition("-I -S -c '")[2].partition("' $HOME_")[0]

    command = [sys.executable, "-I", "-S", "-c", program, str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)

    assert (done.stdout, done.returncode) == ("tries the worker\n", not good), done.stderr
