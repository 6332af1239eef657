# SPDX-License-Identifier: GPL-2.0-only
"""A tar archive of files that are to be root's inside an image, the same bytes for equal files."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath


def write_archive(target: Path, files: Mapping[str, Path], *, epoch: int) -> None:
    """Write an archive of *files*, which maps names in it to files and directories here.

    Owner, group, times and all but the executable bit of the mode are not taken from here.
    """
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as archive:
        for name, path in sorted(_every_file(files).items()):
            with path.open("rb") as content:
                archive.addfile(_header(name, path, epoch), content)


def _every_file(files: Mapping[str, Path]) -> dict[str, Path]:
    every: dict[str, Path] = {}
    for name, path in files.items():
        if path.is_dir():
            below = (found for found in path.rglob("*") if found.is_file())
            every |= {str(PurePosixPath(name) / found.relative_to(path)): found for found in below}
        else:
            every[name] = path
    return every


def _header(name: str, path: Path, epoch: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    status = path.stat()
    header.size = status.st_size
    header.mode = 0o755 if status.st_mode & 0o100 else 0o644
    header.mtime = epoch
    header.uname = header.gname = "root"
    return header
