# SPDX-License-Identifier: GPL-2.0-only
"""Workspace of an image that is being made: a draft beside its result, and a lock on both.

A result gets its place by a rename when it is complete. What a killed process has left is removed
when the next image of the same name is made.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from latent_libvirt.images.local import DESCRIPTION, LocalImage

if TYPE_CHECKING:
    from latent_libvirt.images.description import Description
    from latent_libvirt.images.progress import Reporter

_DRAFT: Final = "draft-"
_LOCK: Final = "lock"


@contextmanager
def locked(directory: Path, reporter: Reporter) -> Iterator[None]:
    """Be the only one that makes an image in *directory*, for the length of a ``with`` block."""
    with (directory / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            reporter.stage("waiting for another build of this image to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


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
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o1777)
        yield Path(name)


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
