# SPDX-License-Identifier: GPL-2.0-only
"""Owner of a doctor's VMs: this user on this machine, and one run at a time.

The owner's name stands in a file of the user, made at the first run, and stays the same. So the
sweep of the next run deletes what a killed run has left, as a master's sweep does. A run locks that
file, and the kernel releases the lock when the run ends in any way. So a sweep never meets a VM of
a run that is alive.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from latent_libvirt.errors import CapacityError, ConfigurationError
from latent_libvirt.host.names import Owner

POOL = "doctor"


def state_directory() -> Path:
    """Return where the file is kept (XDG Base Directory Specification, ``XDG_STATE_HOME``)."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(base) / "latent-libvirt"


def nobody() -> Owner:
    """Return an owner that nothing belongs to, for a run that is not to sweep anything."""
    return Owner(f"doctor without VMs {secrets.token_hex(16)}", POOL)


@contextmanager
def claimed(directory: Path) -> Iterator[Owner]:
    """Be the owner for the length of a ``with`` block.

    :param directory: see :func:`state_directory`.
    :raises CapacityError: another run is the owner.
    :raises ConfigurationError: the file cannot be used.
    """
    # Homes may be shared between machines, and locks there may not be.
    path = directory / f"doctor-{socket.gethostname()}"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise _unusable(path, error) from error
    with file:
        _lock(file, path)
        yield Owner(_name_in(file), POOL)


def _lock(file: TextIO, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CapacityError(
            "another run of the doctor, by the same user on this machine, is at work",
            resolution="Wait for it, or do without VMs (--no-vm).",
        ) from None
    except OSError as error:
        raise _unusable(path, error) from error


def _name_in(file: TextIO) -> str:
    """Return the owner's name; if there is none, or half of one, make it."""
    file.seek(0)
    lines = file.read().splitlines(keepends=True)
    if len(lines) == 1 and lines[0].endswith("\n"):
        return lines[0].strip()
    # A user's number, since in a container nobody may know the name.
    name = f"doctor of user {os.getuid()} on {socket.gethostname()} {secrets.token_hex(16)}"
    file.truncate(0)
    file.write(f"{name}\n")
    file.flush()
    return name


def _unusable(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"{path} cannot be used",
        details=error.strerror,
        resolution="The doctor keeps there whose its VMs are. Make it writable, set XDG_STATE_HOME "
        "to another directory, or do without VMs (--no-vm).",
    )
