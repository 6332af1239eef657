# SPDX-License-Identifier: GPL-2.0-only
"""Workspace of an image: what a killed build has left in the temporary directory goes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from latent_libvirt.images import workspace

# In a process that nothing can clean up after.
KILLED = """
import os, signal, sys
from pathlib import Path
from latent_libvirt.images import workspace

with workspace.temporary(Path(sys.argv[1])) as place:
    Path(place, "half a package").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a directory that stands for /tmp."""
    shared = tmp_path / "tmp"
    shared.mkdir()
    monkeypatch.setenv("TMPDIR", str(shared))
    monkeypatch.setattr("tempfile.tempdir", str(shared))
    return shared


def test_what_a_killed_build_has_left_goes_with_the_next_build_of_the_same_image(
    tmp_path: Path, shared: Path
) -> None:
    for name in ("one", "other"):
        subprocess.run([sys.executable, "-c", KILLED, tmp_path / name], check=False)
    assert len(list(shared.iterdir())) == 2

    with workspace.temporary(tmp_path / "one") as temporary:
        assert list(temporary.iterdir()) == []

    (others,) = shared.iterdir()
    assert (others / "half a package").exists()
