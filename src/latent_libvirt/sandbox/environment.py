# SPDX-License-Identifier: GPL-2.0-only
"""Separate Python environments for programs whose requirements are not those of this package.

Each is installed once, on demand, into a directory that the caller keeps.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from latent_libvirt.errors import HostError


def bring(environment: Path, requirements: Path, program: str) -> Path:
    """Install a program unless it is there; return its path. One process at a time does it.

    :param environment: a directory for the environment, and nothing else.
    :param requirements: a file with all packages and their hashes.
    :raises HostError: pip failed.
    """
    stamp = environment / "installed"
    # Its scripts name its path, so that it is of no use where it has been moved to.
    wanted = f"{environment}\n{requirements.read_text()}"
    environment.parent.mkdir(parents=True, exist_ok=True)
    with _locked(environment.with_suffix(".lock")):
        if not stamp.exists() or stamp.read_text() != wanted:
            _install(environment, requirements, program)
            stamp.write_text(wanted)
    return environment / "bin" / program


def _install(environment: Path, requirements: Path, program: str) -> None:
    shutil.rmtree(environment, ignore_errors=True)
    venv.create(environment, with_pip=True, symlinks=True)
    pip = [str(environment / "bin/python"), "-m", "pip", "install", "--quiet", "--no-input"]
    done = subprocess.run(
        [*pip, "--no-deps", "--require-hashes", "--requirement", str(requirements)],
        check=False,
        capture_output=True,
        text=True,
        env=_own_environment(),
    )
    if done.returncode != 0:
        raise HostError(f"{program} could not be installed", details=done.stderr[-4000:])


def _own_environment() -> dict[str, str]:
    """Give pip nothing that belongs to the environment that this process runs in."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
