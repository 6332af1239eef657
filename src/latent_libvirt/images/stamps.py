# SPDX-License-Identifier: GPL-2.0-only
"""Stamps of an image's files: what shows that a file is the one that was hashed.

A file with the size, the times and the number that it had then was not written since, for any
write changes its change time. So a publication need not hash gigabytes again. A copy of an image
has other times, and is hashed once.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from latent_libvirt.images.description import Part

STAMPS: Final = "stamps.json"
_LONGEST: Final = 64 * 1024


def stamp_of(path: Path, part: Part) -> list[str | int]:
    """Return the stamp of the file *path*, whose content is *part*. Lets ``OSError`` pass."""
    status = path.stat()
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return [part.sha256, status.st_size, *times, status.st_ino]


def write(directory: Path, stamps: dict[str, list[str | int]]) -> None:
    """Keep the stamps, by name of the file, at once or not at all. Lets ``OSError`` pass."""
    draft = directory / f"{STAMPS}.{os.getpid()}"
    draft.write_text(json.dumps(stamps))
    draft.replace(directory / STAMPS)


def are_of(path: Path, part: Part) -> bool:
    """Whether the file *path* was not written since it was hashed, and was *part* then."""
    try:
        with (path.parent / STAMPS).open() as file:
            known = json.loads(file.read(_LONGEST))
        return bool(known[path.name] == stamp_of(path, part))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
