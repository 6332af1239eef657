# SPDX-License-Identifier: GPL-2.0-only
"""The worker's Python packages: downloaded as wheels that hashes pin, and unpacked for guests.

The Python that runs here and the one in the image need not be the same.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from latent_libvirt.images.programs import BuildError, run

_C_PARTS: Final = (".c", ".so")
_TESTS: Final = ("test", "tests")


class Wheels:
    """The wheels that a file of requirements pins.

    :param python: the version of Python that they are for, as pip wants it.
    :param platforms: what pip may download.
    """

    def __init__(self, requirements: Path, *, python: str, platforms: Sequence[str]) -> None:
        self._requirements = requirements
        self._python = python
        self._platforms = platforms

    def bring(self, cache: Path, *, into: Path) -> Path:
        """Copy the wheels to the directory *into*; return that. Download what *cache* lacks.

        :raises BuildError: they cannot be downloaded, or are not what is pinned.
        """
        cache.mkdir(parents=True, exist_ok=True)
        if not self._download(cache, "--no-index"):
            self._download(cache, must=True)
        # Only what is pinned now may get into the image, whatever other builds have left.
        self._download(cache, "--no-index", must=True, into=into)
        return into

    def _download(
        self, cache: Path, *options: str, must: bool = False, into: Path | None = None
    ) -> bool:
        platforms = (f"--platform={platform}" for platform in self._platforms)
        command = [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--only-binary=:all:", "--require-hashes", "--implementation=cp"),
            *(f"--python-version={self._python}", *platforms, *options),
            *(f"--find-links={cache}", f"--dest={into or cache}"),
            f"--requirement={self._requirements}",
        ]
        try:
            run(command)
        except BuildError:
            if must:
                raise
            return False
        return True


def unpack(wheels: Path, target: Path) -> None:
    """Unpack all *wheels* into one directory, without their C parts and their tests.

    What is left is Python alone. So it suits any version of Python that the packages support, on
    any architecture.
    """
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            wanted = [name for name in archive.namelist() if _is_wanted(name)]
            archive.extractall(target, wanted)


def _is_wanted(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix not in _C_PARTS and not any(part in _TESTS for part in path.parts[:-1])
