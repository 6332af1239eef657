# SPDX-License-Identifier: GPL-2.0-only
"""Path of a master's control socket, and an address for it that the kernel accepts.

A Unix socket's address has room for 107 bytes (unix(7)); a master's base directory may be longer.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from latent_libvirt.control.messages import ControlError

SUFFIX = ".sock"

LONGEST = 107
"""Bytes, without the zero at the end."""


def socket_path(directory: Path, pool: str) -> Path:
    """Return where the pool of that name has its socket, if its master runs in *directory*."""
    return directory / f"{pool.replace('/', '-')}{SUFFIX}"


@contextmanager
def address_of(path: Path) -> Iterator[str]:
    """Give an address of *path*, valid in this process for the length of the ``with`` block.

    :raises OSError: if its directory cannot be opened.
    :raises ControlError: if the name alone is too long.
    """
    if _fits(str(path)):
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        short = f"/proc/self/fd/{directory}/{path.name}"
        if not _fits(short):
            raise ControlError(
                f"{path.name} is too long for the name of a socket",
                resolution="Give the pool a shorter name: Pool.from_yaml(..., name=...).",
            )
        yield short
    finally:
        os.close(directory)


def _fits(address: str) -> bool:
    return len(os.fsencode(address)) <= LONGEST
