# SPDX-License-Identifier: GPL-2.0-only
"""The recipes of base images: what each is made from, as data.

A recipe is a directory that a person can read in one go. Some ship with the package (``images`` in
the source tree). Another one is a directory anywhere, and may extend one that ships. How it becomes
an image is in ``build.py``.
"""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from latent_libvirt.advice import page
from latent_libvirt.advice.guesses import nearest
from latent_libvirt.errors import ConfigurationError
from latent_libvirt.guest.launcher import version
from latent_libvirt.images.architectures import CONSOLES, DEBIAN_NAMES, X86_64, Architecture
from latent_libvirt.images.description import NAME_PATTERN
from latent_libvirt.plain_text import as_text, display_name

LAUNCHER: Final = {f"launcher/{name}": path for name, path in version.files().items()}
"""The files of the launcher, by their places below the launcher's home in an image."""

_PACKAGE: Final = Path(__file__).parent
_INSTALLED: Final = _PACKAGE / "recipes"
_SOURCE_TREE: Final = _PACKAGE.parents[2] / "images"

# The modules that decide what gets into an image.
_MAKERS: Final = ("apt.py", "archive.py", "disk.py", "ext4.py", "rootfs.py", "wheels.py")


PACKAGE_PATTERN: Final = r"^[a-z0-9][a-z0-9+.-]+$"
"""Names of Debian packages."""

Package = Annotated[str, Field(pattern=PACKAGE_PATTERN)]
Suite = Annotated[str, Field(pattern=r"^[a-z]+$")]
Python = Annotated[str, Field(pattern=r"^3\.[0-9]{1,2}$")]

_MIB: Final = 2**20
_LEAST: Final = 512 * _MIB
"""Bytes that no system of a recipe fits in."""

_LARGEST: Final = 64 * 2**40
"""Bytes of the largest disk that a label can have."""

_LAST_EPOCH: Final = 2**32 - 1
VirtualSize = Annotated[int, Field(ge=_LEAST, le=_LARGEST, multiple_of=_MIB)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Settings(_Model):
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

    suite: Suite
    architecture: Annotated[str, Field(pattern=r"^[a-z0-9]+$")]
    python: Python
    wheel_platforms: Annotated[list[str], Field(min_length=1)]
    packages: Annotated[list[Package], Field(min_length=1)]
    virtual_size: VirtualSize
    initrd_modules: list[str]
    command_line: str
    epoch: Annotated[int, Field(gt=0, le=_LAST_EPOCH)]

    @property
    def arch(self) -> str:
        """The architecture, as `uname -m` names it in a VM of the image."""
        return next(
            (key for key, name in DEBIAN_NAMES.items() if name == self.architecture), X86_64
        )

    def of(self, arch: str) -> dict[str, Any]:
        """Return the settings that are others for another architecture."""
        old, new = f"-{self.architecture}", f"-{DEBIAN_NAMES[arch]}"
        return {
            "architecture": DEBIAN_NAMES[arch],
            "packages": [re.sub(f"{old}$", new, package) for package in self.packages],
            "wheel_platforms": [each.replace(self.arch, arch) for each in self.wheel_platforms],
            "command_line": self.command_line.replace(CONSOLES[self.arch], CONSOLES[arch]),
        }


class Extension(_Model):
    """Settings of a recipe that extends another one. What is ``None`` is the base's.

    :param base: the name of a recipe that ships with this package.
    :param packages: Debian packages besides those of the base.
    :param script: a file of the recipe, which runs inside the image as root.
    :param arch: another architecture. The base's packages for its kernel become those for that, and
        so do the wheels and the console.
    :param suite: Debian's code name of another release.
    :param python: the version of Python in that.
    :param virtual_size: bytes of the disk as a guest sees it.
    """

    base: str
    arch: Architecture | None = None
    packages: list[Package] = []
    script: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] | None = None
    suite: Suite | None = None
    python: Python | None = None
    virtual_size: VirtualSize | None = None


class Recipe:
    """A recipe: its settings, and the files that belong to it.

    :param directory: of the recipe; its name is that of the image.
    :raises ConfigurationError: its ``recipe.toml`` does not make sense.
    """

    def __init__(self, directory: Path) -> None:
        self.name = directory.name
        self.directory = directory
        self.base: Recipe | None = None
        """The recipe that it extends."""
        self.script: Path | None = None
        """A program that runs inside the image, besides those of the base."""
        values = _values(self._file)
        if "base" in values:
            self._extend(_validated(Extension, values, self._file))
        else:
            self.settings = _validated(Settings, values, self._file)

    def _extend(self, own: Extension) -> None:
        if own.base not in names():
            raise _no_recipe(self._file, f"base: {_guess(own.base, names())}")
        self.base = Recipe(root() / own.base)
        self.script = None if own.script is None else self.directory / own.script
        base = self.base.settings
        if own.arch is not None:
            base = base.model_copy(update=base.of(own.arch))
        named = own.model_dump(include={"suite", "python", "virtual_size"}, exclude_none=True)
        packages = [*dict.fromkeys([*base.packages, *own.packages])]
        self.settings = base.model_copy(update={**named, "packages": packages})

    @property
    def _file(self) -> Path:
        return self.directory / "recipe.toml"

    @property
    def _home(self) -> Path:
        """The directory of the files that make any image of the release."""
        return self.directory if self.base is None else self.base._home  # noqa: SLF001 - a recipe's

    @property
    def scripts(self) -> tuple[Path, ...]:
        """The programs that run inside the image besides ``customize``: the base's, then ours."""
        below = () if self.base is None else self.base.scripts
        return below if self.script is None else (*below, self.script)

    @property
    def downloads(self) -> str:
        """The name of the image whose downloads this one shares."""
        if self.base is None or _release(self.base.settings) != _release(self.settings):
            return self.name
        return self.base.downloads

    @property
    def command_line(self) -> str:
        """The kernel's command line, on one line."""
        return " ".join(self.settings.command_line.split())

    @property
    def files(self) -> Mapping[str, Path]:
        """What is copied into the image as it is, by the place there: the base's, then ours."""
        below = {} if self.base is None else self.base.files
        own = self.directory / "files"
        ours = (path for path in own.rglob("*") if path.is_file() and not path.is_symlink())
        return {**below, **{str(path.relative_to(own)): path for path in ours}}

    @property
    def requirements(self) -> Path:
        """What the launcher needs from PyPI, pinned by hashes."""
        own = self.directory / "requirements.txt"
        if self.base is None or own.exists():
            return own
        return self.base.requirements

    @property
    def customize(self) -> Path:
        """The program that runs inside the image, last."""
        return self._home / "customize"

    @property
    def initrd_init(self) -> Path:
        """The program that is run in the initial RAM disk."""
        return self._home / "initrd-init"

    @property
    def boot_loader(self) -> Path:
        """The boot loader's configuration."""
        return self._home / "grub.cfg"

    @property
    def manifest(self) -> Path:
        """What was installed when the recipe was last changed; an extension need not have it."""
        return self.directory / "manifest.txt"

    @cached_property
    def fingerprint(self) -> str:
        """A SHA-256 of all that decides what is in the image, except for the packages' versions.

        The manifest is left out, since it lists what came of the recipe, not what to do.
        """
        ours = (path for path in self.directory.rglob("*") if path.is_file())
        files = {str(path.relative_to(self.directory)): path for path in ours}
        files.pop(self.manifest.name, None)
        files |= {f"/{name}": path for name, path in LAUNCHER.items()}
        files |= {f"/{name}": _PACKAGE / name for name in _MAKERS}
        digest = hashlib.sha256(b"" if self.base is None else self.base.fingerprint.encode())
        for name, path in sorted(files.items()):
            content = path.read_bytes()
            executable = bool(path.stat().st_mode & 0o100)
            digest.update(f"{name}\n{executable} {len(content)}\n".encode() + content)
        return digest.hexdigest()

    def faults(self) -> Iterator[str]:
        """Yield in words what of its files is missing, or cannot be run."""
        files = [self.requirements, self.customize, self.initrd_init, self.boot_loader]
        programs = [self.customize]
        if self.base is not None:
            files = programs = [] if self.script is None else [self.script]
        yield from _faults_below(self.directory / "files")
        key = "" if self.base is None else "script: "
        for path in files:
            if not path.is_file():
                yield f"{key}there is no file {display_name(str(path))}"
            elif path in programs and not os.access(path, os.X_OK):
                yield f"{key}{display_name(str(path))} is not executable (chmod +x)"


def _faults_below(files: Path) -> Iterator[str]:
    """Yield in words what cannot be copied into an image as it is. No link is followed."""
    for path in (files, *sorted(files.rglob("*"))):
        shown = display_name(str(path))
        if path.is_symlink():
            yield f"{shown} is a link, which is not copied. {_OF_LINKS}"
        elif path.is_dir():
            if path != files and not any(path.iterdir()):
                yield f"{shown} is an empty directory. Remove it, and let the script make it"
        elif not path.is_file():
            if path.exists():
                yield f"{shown} is neither a file nor a directory. Remove it"
        elif not os.access(path, os.R_OK):
            yield f"{shown} cannot be read: Permission denied"


_OF_LINKS: Final = (
    "Remove it, and let the script make it (ln -s TARGET NAME), or mask the unit (systemctl mask)"
)


def _release(settings: Settings) -> tuple[str, str]:
    """Return what packages are for."""
    return settings.suite, settings.architecture


_M = TypeVar("_M", bound=_Model)


def _values(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        raise _no_recipe(file, error.strerror or str(error)) from error
    except ValueError as error:  # also of bytes that are no text, and of a number without an end
        raise _no_recipe(file, as_text(error)) from error
    except RecursionError as error:
        raise _no_recipe(file, "it is nested too deeply") from error


def _validated(model: type[_M], values: dict[str, Any], file: Path) -> _M:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = (_in_words(fault, model) for fault in error.errors(include_url=False))
        raise _no_recipe(file, "\n".join(lines)) from error


def _in_words(fault: Mapping[str, Any], model: type[_Model]) -> str:
    key = ".".join(map(str, fault["loc"]))
    if fault["type"] == "extra_forbidden":
        return f"{display_name(key)}: {_guess(key, model.model_fields)}"
    meant = _MEANT.get(str(fault["loc"][0]))
    if fault["type"] in _NOT_MEANT and meant is not None:
        given = as_text(repr(fault["input"]))
        given = given if len(given) <= _LONGEST_SHOWN else f"{given[:_LONGEST_SHOWN]}…"
        return f"{display_name(key)}: {given} is not {meant}"
    return f"{display_name(key)}: {fault['msg']}"


_LONGEST_SHOWN: Final = 80
_NOT_MEANT: Final = frozenset(
    {
        "string_pattern_mismatch",
        "greater_than",
        "greater_than_equal",
        "less_than_equal",
        "multiple_of",
    }
)
_MEANT: Final = {
    "suite": "Debian's code name of a release, in small letters like 'bookworm'",
    "architecture": "Debian's name of an architecture, like 'amd64'",
    "python": "a version of Python 3, like '3.11'",
    "packages": "the name of a Debian package, like 'gcc' or 'libc6-dev'",
    "script": "the name of a file in the recipe's directory, like 'setup'",
    "virtual_size": "a size in bytes: whole MiB (multiples of 1048576) from 512 MiB to 64 TiB, "
    "like 21474836480 for 20 GiB",
    "epoch": f"a time in seconds since the year 1970, from 1 to {_LAST_EPOCH}",
}
"""By key of a recipe, what its value has to be."""


def _guess(word: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    """Return what to say of a word that is none of those that are known."""
    near = nearest(word, tuple(known))
    return f"did you mean {near!r}?" if near else f"known are {', '.join(sorted(known))}"


def _no_recipe(file: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{display_name(str(file))} is no recipe",
        details=why,
        resolution=f"What a recipe has: {page('docs/how-to/build-an-image.md')}",
    )


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


def find(name_or_directory: str) -> Recipe:
    """Return the recipe of that name that ships with this package, or the one in a directory.

    :raises ConfigurationError: there is none, or it is not complete.
    """
    directory = Path(name_or_directory)
    if name_or_directory in names() or not _is_path(name_or_directory):
        return load(name_or_directory)
    directory = directory.resolve()
    _refuse_name(directory)
    recipe = Recipe(directory)
    if faults := list(recipe.faults()):
        raise _no_recipe(directory / "recipe.toml", "\n".join(faults))
    return recipe


def _is_path(given: str) -> bool:
    return os.sep in given or Path(given).is_dir()


def _refuse_name(directory: Path) -> None:
    """Refuse a directory whose name is no name of a new image."""
    shown = display_name(str(directory))
    if not directory.is_dir():
        raise ConfigurationError(f"{shown} is no directory", resolution="Name that of a recipe.")
    if not re.fullmatch(NAME_PATTERN, directory.name):
        raise ConfigurationError(
            f"{shown} is no name of an image",
            details="The image has the name of the directory: up to 40 lower-case letters, digits "
            "and hyphens, of which the first is no hyphen.",
            resolution="Rename the directory.",
        )
    if directory.name in names() and directory != root() / directory.name:
        raise ConfigurationError(
            f"{directory.name!r} is the name of a recipe that ships with this package",
            details="The image has the name of the directory. VMs take the newest image of a name, "
            "and would get the one or the other.",
            resolution=f"Rename {shown}.",
        )


def root() -> Path:
    """Return the directory of the recipes: inside the installed package, or in the source tree."""
    return _INSTALLED if _INSTALLED.is_dir() else _SOURCE_TREE
