# SPDX-License-Identifier: GPL-2.0-only
"""A disk that can be full: a tmpfs in the namespaces of a sandbox, so no privilege is needed.

This file is also the program that mounts it. The owner of a user namespace may do so there, but not
after an ``exec`` as the user that the sandbox runs as: so ``nsenter`` and ``mount`` do not serve.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
"""Of sched.h; ``os`` has them, and ``setns``, from Python 3.12 on."""


def mount(pid: int, directory: Path, *, size: int) -> None:
    """Mount a disk of *size* bytes on *directory*, as the process *pid* sees it."""
    directory.mkdir(parents=True)
    # In a process of its own: one with threads cannot enter a user namespace.
    program = [sys.executable, "-I", "-S", __file__]
    subprocess.run([*program, str(pid), str(directory), str(size)], check=True)


def _enter(pid: int, namespace: str, kind: int) -> None:
    descriptor = os.open(f"/proc/{pid}/ns/{namespace}", os.O_RDONLY)
    _call("setns", descriptor, kind)
    os.close(descriptor)


def _call(function: str, *arguments: object) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")


def main(pid: int, directory: str, size: int) -> None:
    """Enter the namespaces of *pid*, and mount."""
    _enter(pid, "user", CLONE_NEWUSER)  # which gives the right to the next two
    _enter(pid, "mnt", CLONE_NEWNS)
    options = f"size={size}".encode()
    _call("mount", b"tmpfs", directory.encode(), b"tmpfs", ctypes.c_ulong(0), options)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
