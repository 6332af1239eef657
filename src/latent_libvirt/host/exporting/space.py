# SPDX-License-Identifier: GPL-2.0-only
"""Space on a disk of this machine for what is packed or unpacked."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from latent_libvirt.config.units import MIB
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.plain_text import display_name


@contextmanager
def needed(output: IO[bytes], size: int) -> Iterator[None]:
    """See that there is space for so many bytes in a new file, and say what lacks if it gets less.

    :raises ConfigurationError: if there is too little.
    """
    free = _free(output.fileno())
    if size > free:
        raise _too_little(Path(output.name), size, free)
    with reported(Path(output.name), size, free):
        yield


@contextmanager
def reported(place: Path, size: int, free: int) -> Iterator[None]:
    """Say of a disk that becomes full how much is needed, and how much there was.

    :raises ConfigurationError: if it does.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _too_little(place, size, free) from error


def free_in(directory: Path) -> int:
    """Return how many bytes this user may write there."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


def _free(descriptor: int) -> int:
    found = os.fstatvfs(descriptor)
    return found.f_bavail * found.f_frsize


def _too_little(place: Path, size: int, free: int) -> ConfigurationError:
    return ConfigurationError(
        f"{display_name(place)}: No space left on device",
        details=f"It needs up to {-(-size // MIB)} MiB, and {free // MIB} MiB were free before.",
        resolution="Make room there, or use another disk.",
    )
