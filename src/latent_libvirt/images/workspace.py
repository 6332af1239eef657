# SPDX-License-Identifier: GPL-2.0-only
"""Workspace of an image that is being made: a draft beside its result, and a lock on both.

A result gets its place by a rename when it is complete. What a killed process has left is removed
when the next image of the same name is made.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from latent_libvirt.images.local import DESCRIPTION, LocalImage
from latent_libvirt.images.programs import program

if TYPE_CHECKING:
    from io import TextIOWrapper

    from latent_libvirt.images.description import Description
    from latent_libvirt.images.progress import Reporter

_DRAFT: Final = "draft-"
_LOCK: Final = "lock"
_OCTAL: Final = re.compile(rb"\\([0-7]{3})")


@contextmanager
def locked(directory: Path, reporter: Reporter) -> Iterator[None]:
    """Be the only one that makes an image in *directory*, for the length of a ``with`` block.

    The directory is made, and removed if nothing but the lock is in it in the end.
    """
    with _taken(directory, reporter):
        try:
            yield
        finally:
            _remove_unused(directory)


def _taken(directory: Path, reporter: Reporter) -> TextIOWrapper:
    """Return the lock, which is held. Another process may have removed it since it was opened."""
    path = directory / _LOCK
    while True:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            lock = path.open("w")
        except FileNotFoundError:
            continue
        except FileExistsError:  # by a directory that is gone since, or by a file
            if _is_no_directory(directory):
                raise
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            reporter.stage("waiting for another build of this image to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                return lock
        lock.close()


def _is_no_directory(path: Path) -> bool:
    """Whether something else is there, at one moment: a directory may go and come all the time."""
    try:
        return not stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        return path.is_symlink()


def _remove_unused(directory: Path) -> None:
    """Remove a directory in which no image was made. The lock is held."""
    with suppress(OSError):  # another process may have taken the lock that it has made since
        if [path.name for path in directory.iterdir()] == [_LOCK]:
            (directory / _LOCK).unlink()
            directory.rmdir()


@contextmanager
def draft(directory: Path) -> Iterator[Path]:
    """Give a directory for one image, and remove it whatever happens."""
    for left in directory.glob(f"{_DRAFT}*"):  # by a build that was killed: we hold the lock
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=_DRAFT, dir=directory) as name:
        yield Path(name)


@contextmanager
def temporary(directory: Path) -> Iterator[Path]:
    """Give a directory like /tmp for what is made in *directory*, and remove it.

    The users of another namespace may not get to the draft. The name says whose it is, so that
    what a killed build has left there is found.
    """
    prefix = f"latent-libvirt-{sha256(bytes(directory.resolve())).hexdigest()[:16]}-"
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        if left.lstat().st_uid == os.geteuid():
            _unmount_below(left)
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o1777)
        try:
            yield Path(name)
        finally:
            _unmount_below(Path(name))


def _unmount_below(directory: Path) -> None:
    """Unmount what is mounted below: a killed mmdebstrap of root's leaves /proc, /sys and others.

    Directories with a mount could not be removed, and what is in it is not ours.
    """
    lines = Path("/proc/self/mounts").read_bytes().splitlines()
    points = (_OCTAL.sub(lambda code: bytes([int(code[1], 8)]), line.split()[1]) for line in lines)
    below = [point for point in map(os.fsdecode, points) if directory in Path(point).parents]
    for point in reversed(below):  # the newest first
        umount = program("umount", package="mount")
        subprocess.run([umount, "--lazy", point], check=False, capture_output=True)


def place(result: Path, directory: Path, description: Description) -> LocalImage:
    """Write the description of the files in *result*, and give them their place in *directory*."""
    (result / DESCRIPTION).write_text(description.to_json())
    target = directory / description.short_digest
    # Equal digest, equal content: what is there may be in use, and only its description is old.
    if target.exists():
        (result / DESCRIPTION).replace(target / DESCRIPTION)
    else:
        LocalImage(result, description).stamp()
        result.rename(target)
    return LocalImage.load(target)
