# SPDX-License-Identifier: GPL-2.0-only
"""The version of a launcher."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from latent_libvirt.guest.launcher.version import files, launcher_version


def version_in(home: Path) -> str:
    program = "from launcher.version import launcher_version; print(launcher_version())"
    script = f"import sys; sys.path[:0] = [{str(home)!r}]; {program}"
    command = [sys.executable, "-I", "-S", "-c", script]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_launcher_is_known_by_its_content(tmp_path: Path) -> None:
    for name, path in files().items():
        copied = tmp_path / "launcher" / name
        copied.parent.mkdir(exist_ok=True)
        shutil.copy(path, copied)
    versions = [version_in(tmp_path)]
    for name in ("life.py", "link/frames.py"):
        changed = tmp_path / "launcher" / name
        changed.write_bytes(changed.read_bytes() + b"\n")
        versions.append(version_in(tmp_path))

    assert versions[0] == launcher_version()
    assert len(set(versions)) == len(versions)


def test_all_that_a_launcher_runs_is_among_its_files() -> None:
    assert {"__init__.py", "__main__.py", "life.py", "link/__init__.py"} <= files().keys()
