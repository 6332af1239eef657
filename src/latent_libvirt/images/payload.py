# SPDX-License-Identifier: GPL-2.0-only
"""Payload of an import: the files that an image of another maker gets.

The files are in the directory ``images/import`` of the source tree. One set of them suits all
distributions.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from latent_libvirt.images import recipes
from latent_libvirt.images.archive import write_archive
from latent_libvirt.images.wheels import Wheels, unpack

OLDEST_PYTHON: Final = "3.8"
"""The packages of the worker are chosen for this version of Python, and run on newer ones."""

_PLATFORMS: Final = ("manylinux2014_x86_64",)
_EPOCH: Final = 1_767_225_600
_COMMON: Final = "common"
_FILES: Final = (_COMMON, "install", "files")
_DERIVATION: Final = (_COMMON, "derive")


def source() -> Path:
    """Return the directory with the files."""
    return recipes.root() / "import"


def requirements() -> Path:
    """Return the file that pins the worker's Python packages."""
    return source() / "requirements.txt"


def bring_worker(cache: Path, target: Path) -> None:
    """Unpack the worker's Python packages to *target*.

    :param cache: keeps the wheels from import to import.
    :raises BuildError: they cannot be downloaded, or are not what is pinned.
    """
    wanted = Wheels(requirements(), python=OLDEST_PYTHON, platforms=_PLATFORMS)
    with tempfile.TemporaryDirectory(dir=target.parent) as wheels:
        unpack(wanted.bring(cache, into=Path(wheels)), target)


def write_payload(
    target: Path, *, cache: Path, script: Path | None = None, packages: Sequence[str] = ()
) -> str:
    """Write a tar archive of all that the guest gets; return the SHA-256 of its content.

    :param cache: keeps the wheels from import to import.
    :param script: a program that runs in the guest, too.
    :param packages: that the guest installs.
    :raises BuildError: the worker cannot be downloaded.
    """
    with tempfile.TemporaryDirectory(dir=target.parent) as directory:
        worker = Path(directory, "site-packages")
        bring_worker(cache, worker)
        files = {name: source() / name for name in _FILES}
        files |= {f"home/{name}": path for name, path in recipes.LAUNCHER.items()}
        files |= {"home/site-packages": worker}
        files |= _added(Path(directory), script, packages)
        write_archive(target, files, epoch=_EPOCH)
    return hashlib.sha256(target.read_bytes()).hexdigest()


def write_derivation(target: Path, *, script: Path | None, packages: Sequence[str]) -> None:
    """Write a tar archive of what the guest of a derivation gets: it has a launcher already."""
    with tempfile.TemporaryDirectory(dir=target.parent) as directory:
        files = {name: source() / name for name in _DERIVATION}
        files |= _added(Path(directory), script, packages)
        write_archive(target, files, epoch=_EPOCH)


def hash_of_derivation() -> str:
    """Return the SHA-256 of the program that a derivation runs."""
    content = b"".join((source() / name).read_bytes() for name in _DERIVATION)
    return hashlib.sha256(content).hexdigest()


def _added(directory: Path, script: Path | None, packages: Sequence[str]) -> dict[str, Path]:
    """Return the files with what the operator adds; *directory* is for those that are made here."""
    files = {} if script is None else {"run": script}
    if packages:
        names = directory / "packages"
        names.write_text("".join(f"{name}\n" for name in packages))
        files["packages"] = names
    return files
