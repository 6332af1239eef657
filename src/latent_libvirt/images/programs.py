# SPDX-License-Identifier: GPL-2.0-only
"""Programs that images are built with: found, run and watched, and ended when this process ends.

It does not know what they are run for.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from latent_libvirt.errors import ConfigurationError, LatentLibvirtError

_SYSTEM_DIRECTORIES: Final = "/usr/sbin:/sbin"  # not on the PATH of ordinary users
_LAST_LINES: Final = 15
_TIMEOUT: Final = 10.0
_UMASK: Final = 0o022
"""Modes of files that a program makes may get into an image, whatever the builder's umask is."""

_KEPT: Final = ("PATH", "HOME", "USER", "LOGNAME", "APT_CONFIG")
_PROXIES: Final = "_proxy"


class BuildError(LatentLibvirtError):
    """An image could not be built: a program failed, or the network did."""


def require(packages: Mapping[str, str]) -> None:
    """Refuse to begin where a program is not installed: all that are missing are named at once.

    :param packages: by program, the Debian package that has it.
    :raises ConfigurationError: one or more are not installed.
    """
    missing = [name for name in packages if _found(name) is None]
    if missing:
        wanted = " ".join(dict.fromkeys(packages[name] for name in missing))
        raise ConfigurationError(
            f"programs that images are built with are not installed: {', '.join(missing)}",
            resolution=f"Install them: apt-get install {wanted}",
        )


def _found(name: str) -> str | None:
    path = f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_DIRECTORIES}"
    return shutil.which(name, path=path)


def program(name: str, *, package: str) -> str:
    """Return the path of a program.

    :param package: the Debian package that has it.
    :raises ConfigurationError: it is not installed.
    """
    found = _found(name)
    if found is None:
        raise ConfigurationError(
            f"the program {name} is not installed",
            resolution=f"Install it: apt-get install {package}",
        )
    return found


def fixed_environment(**more: str) -> dict[str, str]:
    """Return an environment in which equal sources give equal files for all builders.

    Of ours it has only what says where programs, configuration and mirrors are.

    :param more: is added.
    """
    ours = os.environ.items()
    kept = {k: v for k, v in ours if k in _KEPT or k.lower().endswith(_PROXIES)}
    return {**kept, "LC_ALL": "C.UTF-8", "TZ": "UTC", **more}


def run(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    heard: Callable[[str], None] = lambda _line: None,
) -> None:
    """Run a program to its end, which is ours too: if we are interrupted, it is.

    :param environment: all of it; ours if there is none.
    :param heard: called with each line that it says.
    :raises BuildError: it failed; with the last lines that it said.
    """
    said: deque[str] = deque(maxlen=_LAST_LINES)
    with subprocess.Popen(
        list(map(str, command)),
        env=environment,
        umask=_UMASK,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # so that what it has started can be ended with it
    ) as process:
        try:
            _follow(process, said, heard)
        except BaseException:
            _end(process)
            raise
    if process.returncode != 0:
        raise BuildError(
            f"{Path(command[0]).name} failed with status {process.returncode}",
            details="\n".join(said),
        )


def _follow(process: subprocess.Popen[str], said: deque[str], heard: Callable[[str], None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line.rstrip())
        heard(line.rstrip())
    process.wait()


def output_of(command: Sequence[str | Path]) -> str:
    """Return what a program prints.

    :raises BuildError: it failed.
    """
    done = subprocess.run(
        list(map(str, command)), check=False, capture_output=True, text=True, errors="replace"
    )
    if done.returncode != 0:
        raise BuildError(f"{Path(command[0]).name} failed", details=done.stderr.strip())
    return done.stdout


def _end(process: subprocess.Popen[str]) -> None:
    """Let the program clean up after itself, for a while; what it has started ends with it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_TIMEOUT)
        os.killpg(process.pid, signal.SIGKILL)
