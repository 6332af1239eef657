# SPDX-License-Identifier: GPL-2.0-only
"""The recipes of base images: what each is made from, as data that ships with the package.

A recipe is a directory (``images/NAME`` in the source tree) that a person can read in one go. How
it becomes an image is in ``build.py``.
"""

from __future__ import annotations

import hashlib
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from latent_libvirt.advice.guesses import nearest
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.guest import launcher

LAUNCHER: Final = tuple(map(Path(launcher.__file__).with_name, launcher.LAUNCHER_FILES))
"""The files of the launcher, which lie side by side in an image."""

_PACKAGE: Final = Path(__file__).parent
_INSTALLED: Final = _PACKAGE / "recipes"
_SOURCE_TREE: Final = _PACKAGE.parents[2] / "images"

# The modules that decide what gets into an image.
_MAKERS: Final = ("apt.py", "archive.py", "disk.py", "ext4.py", "rootfs.py", "wheels.py")


class Settings(BaseModel):
    """Settings of a recipe's ``recipe.toml``.

    :param suite: Debian's code name of the release.
    :param python: the version of Python in the image, as pip wants it.
    :param wheel_platforms: what pip may download for it.
    :param packages: Debian packages besides the essential ones.
    :param virtual_size: bytes of the disk as a guest sees it.
    :param initrd_modules: what the initial RAM disk loads, in order.
    :param command_line: the kernel's.
    :param epoch: seconds since the epoch; no file is younger.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    suite: Annotated[str, Field(pattern=r"^[a-z]+$")]
    architecture: Annotated[str, Field(pattern=r"^[a-z0-9]+$")]
    python: Annotated[str, Field(pattern=r"^3\.[0-9]+$")]
    wheel_platforms: Annotated[list[str], Field(min_length=1)]
    packages: Annotated[list[str], Field(min_length=1)]
    virtual_size: Annotated[int, Field(gt=0, multiple_of=2**20)]
    initrd_modules: list[str]
    command_line: str
    epoch: Annotated[int, Field(gt=0)]


class Recipe:
    """A recipe: its settings, and the files that belong to it.

    :param directory: of the recipe; its name is that of the image.
    :raises ConfigurationError: its ``recipe.toml`` does not make sense.
    """

    def __init__(self, directory: Path) -> None:
        self.name = directory.name
        self.directory = directory
        try:
            values = tomllib.loads((directory / "recipe.toml").read_text())
            self.settings = Settings.model_validate(values)
        except (OSError, tomllib.TOMLDecodeError, ValidationError) as error:
            raise ConfigurationError(
                f"{directory / 'recipe.toml'} is no recipe", details=str(error)
            ) from error

    @property
    def command_line(self) -> str:
        """The kernel's command line, on one line."""
        return " ".join(self.settings.command_line.split())

    @property
    def files(self) -> Path:
        """What is copied into the image as it is."""
        return self.directory / "files"

    @property
    def requirements(self) -> Path:
        """What the launcher needs from PyPI, pinned by hashes."""
        return self.directory / "requirements.txt"

    @property
    def manifest(self) -> Path:
        """What was installed when the recipe was last changed."""
        return self.directory / "manifest.txt"

    @cached_property
    def fingerprint(self) -> str:
        """A SHA-256 of all that decides what is in the image, except for the packages' versions.

        The manifest is left out, since it lists what came of the recipe, not what to do.
        """
        ours = (path for path in self.directory.rglob("*") if path.is_file())
        files = {str(path.relative_to(self.directory)): path for path in ours}
        files.pop(self.manifest.name, None)
        files |= {f"/{path.name}": path for path in (*LAUNCHER, *map(_PACKAGE.joinpath, _MAKERS))}
        digest = hashlib.sha256()
        for name, path in sorted(files.items()):
            content = path.read_bytes()
            executable = bool(path.stat().st_mode & 0o100)
            digest.update(f"{name}\n{executable} {len(content)}\n".encode() + content)
        return digest.hexdigest()


def names() -> tuple[str, ...]:
    """Return the names of all recipes that ship with this package."""
    return tuple(sorted(path.parent.name for path in root().glob("*/recipe.toml")))


def load(name: str) -> Recipe:
    """Return the recipe of that name.

    :raises ConfigurationError: there is none.
    """
    if name in names():
        return Recipe(root() / name)
    near = nearest(name, names())
    raise ConfigurationError(
        f"there is no recipe {name!r}",
        details=f"Recipes: {', '.join(names())}.",
        resolution=f"Did you mean {near!r}?" if near else None,
    )


def root() -> Path:
    """Return the directory of the recipes: inside the installed package, or in the source tree."""
    return _INSTALLED if _INSTALLED.is_dir() else _SOURCE_TREE
