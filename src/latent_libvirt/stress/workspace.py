# SPDX-License-Identifier: GPL-2.0-only
"""Working directories of runs: each ends with its run, and one of a run that was killed is removed.

A run holds the lock of its directory, and the kernel ends the lock with the process. So the next
run sees which directories are left over. Sockets have a separate directory with a short path, which
is recorded before it exists: a Unix socket's path has 107 bytes.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from latent_libvirt.sandbox.directory_lock import locked

PREFIX: Final = "stress-"
SOCKETS: Final = "llv-"
RECORD: Final = "sockets"

STORAGE_POOL: Final = "builds"
"""libvirt's storage pool on all hosts that a run starts."""


@dataclass(frozen=True)
class Workspace:
    """Directories of one run.

    :param sockets: one with a short path.
    """

    directory: Path
    sockets: Path


@contextmanager
def workspace(parent: Path) -> Iterator[Workspace]:
    """Give empty directories, one of them below *parent*, which are removed at the end."""
    remove_abandoned(parent)
    directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    try:
        with locked(directory):
            sockets = Path(tempfile.gettempdir(), f"{SOCKETS}{secrets.token_hex(4)}")
            (directory / RECORD).write_text(str(sockets))
            sockets.mkdir(mode=0o700)
            yield Workspace(directory, sockets)
    finally:
        _remove(directory)


def remove_abandoned(parent: Path) -> list[Path]:
    """Remove the directories of runs that were killed, and return them."""
    removed = []
    for left in sorted(parent.glob(f"{PREFIX}*")):
        with suppress(OSError), locked(left):
            _remove(left)
            removed.append(left)
    return removed


def _remove(directory: Path) -> None:
    """Remove a directory and the one of its sockets, which it names."""
    with suppress(OSError, ValueError):
        sockets = Path((directory / RECORD).read_text())
        if sockets.name.startswith(SOCKETS) and sockets.parent == Path(tempfile.gettempdir()):
            shutil.rmtree(sockets, ignore_errors=True)
    shutil.rmtree(directory, ignore_errors=True)
