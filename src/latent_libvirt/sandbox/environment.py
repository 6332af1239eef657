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
    try:
        venv.create(environment, with_pip=True, symlinks=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise HostError(
            f"no Python environment for {program} could be made in {environment}",
            details=_reason(error, environment.parent),
        ) from None
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


def _reason(error: OSError | subprocess.CalledProcessError, directory: Path) -> str:
    """Return why something failed; a disk with little room is the most frequent reason."""
    output = error.output if isinstance(error, subprocess.CalledProcessError) else error.strerror
    said = output.decode("utf-8", "replace") if isinstance(output, bytes) else str(output or error)
    free = shutil.disk_usage(directory).free >> 20
    return f"{said[-1000:].strip()}\nThere are {free} MiB free in {directory}."


def _own_environment() -> dict[str, str]:
    """Give pip nothing that belongs to the environment that this process runs in."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
