# SPDX-License-Identifier: GPL-2.0-only
"""The Pythons of this machine that a guest could have: on PATH, of pyenv, and the tests' own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

VERSIONS = tuple(f"3.{minor}" for minor in range(8, 14))
"""What the launcher has to run on."""


def found() -> dict[str, str]:
    """Return an interpreter of each version that there is, by version."""
    own = "{}.{}".format(*sys.version_info)
    return {own: sys.executable} | {
        version: python
        for version in VERSIONS
        if (python := next(filter(None, map(_runs, _candidates(version))), None)) is not None
    }


def _candidates(version: str) -> Iterator[str]:
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}")))
    for directory in os.get_exec_path():
        if (python := shutil.which(f"python{version}", path=directory)) is not None:
            yield python


def _runs(python: str) -> str | None:
    """Return *python* if it runs: a version manager has programs for versions it lacks."""
    done = subprocess.run([python, "-c", "import ssl"], check=False, capture_output=True)
    return python if done.returncode == 0 else None
