# SPDX-License-Identifier: GPL-2.0-only
"""Rehearsals, each in a process that ends with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REHEARSAL = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from latent_libvirt.guest.launcher.rehearsal import Rehearsal
from latent_libvirt.guest.launcher.worker import import_worker
rehearsal = Rehearsal(import_worker(), stages=Path({stages!r}))
print({before_the_end})
rehearsal.end()
print([*Path({stages!r}).iterdir()])
"""


def run_python(script: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], check=True, capture_output=True, text=True
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("before_the_end", "said"), [("rehearsal.wait()", "True"), ("None", "None")]
)
def test_nothing_remains_of_a_rehearsal_whether_it_is_over_or_not(
    tmp_path: Path, before_the_end: str, said: str
) -> None:
    script = REHEARSAL.format(path=sys.path, stages=str(tmp_path), before_the_end=before_the_end)

    assert run_python(script) == [said, "[]"]
